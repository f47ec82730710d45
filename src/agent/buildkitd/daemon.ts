import { readFile, writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { describeError } from '../../kernel/errors.ts'
import { type Logger, maskCredentials } from '../../kernel/log.ts'
import { type Child, type Exit, start } from '../../kernel/process/start.ts'
import { askDaemon, type DaemonFacts } from './control.ts'
import { logDaemonLine } from './daemon-log.ts'

export interface DaemonOptions {
  /** Program name or path. */
  readonly binary: string
  /** Puts the program into what it is to run in, keeping the process id. Default: nothing. */
  readonly wrap?: (program: string, args: readonly string[]) => readonly [string, readonly string[]]
  /** Path of the rendered buildkitd.toml. */
  readonly config: string
  readonly socket: string
  readonly env: Readonly<Record<string, string>>
  readonly log: Logger
}

/** One life of buildkitd. */
export interface Daemon {
  readonly pid: number
  /** Settles with its answer when it takes calls, or with undefined when it ended before that. */
  readonly ready: Promise<DaemonFacts | undefined>
  readonly exited: Promise<Exit>
  /** What it said last, oldest first. */
  lastLines(): readonly string[]
  stop(grace: number): Promise<Exit>
}

const keptLines = 20

/** Starts buildkitd. Its standard error becomes our log. @throws InsituError COMMAND_MISSING */
export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const lines: string[] = []
  const own = ['--config', options.config]
  const [program, args] = options.wrap?.(options.binary, own) ?? [options.binary, own]
  const child = await start(program, args, {
    env: options.env,
    onLine: (line) => {
      // They become part of findings, which others than administrators read.
      lines.push(maskCredentials(line))
      if (lines.length > keptLines) lines.shift()
      logDaemonLine(options.log, line)
    },
  })
  await offerToKernel(child.pid).catch((error: unknown) => {
    options.log.debug(
      { err: describeError(error) },
      'the kernel may end the agent before buildkitd when memory runs out',
    )
  })
  return {
    pid: child.pid,
    exited: child.exited,
    ready: answers(child, options.socket),
    lastLines: () => lines,
    stop: (grace) => child.stop(grace),
  }
}

/**
 * Where memory runs out the kernel should end buildkitd and not the agent, which tells what happened and starts it
 * again. proc_pid_oom_score_adj(5): -1000 to 1000; raising it needs no privilege.
 */
async function offerToKernel(pid: number): Promise<void> {
  const own = Number(await readFile('/proc/self/oom_score_adj', 'utf8'))
  await writeFile(`/proc/${pid}/oom_score_adj`, String(Math.min(1000, own + 500)))
}

/** Asks until it answers or is gone: whichever comes first decides the start. There is no time-out: an exit always comes. */
async function answers(child: Child, socket: string): Promise<DaemonFacts | undefined> {
  const gone = child.exited.then(() => 'gone' as const)
  for (let wait = 25; ; wait = Math.min(wait * 1.5, 500)) {
    const answer = await Promise.race([gone, askDaemon(socket).catch(() => undefined)])
    if (answer === 'gone') return undefined
    if (answer) return answer
    if ((await Promise.race([gone, sleep(wait, undefined, { ref: false })])) === 'gone') return undefined
  }
}
