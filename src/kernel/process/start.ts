import { createInterface } from 'node:readline'
import type { Writable } from 'node:stream'
import { execa } from 'execa'
import { InsituError } from '../errors.ts'
import { findProgram } from './find-program.ts'

export interface StartOptions {
  /** The whole environment of the child; nothing is inherited. */
  readonly env: Readonly<Record<string, string>>
  readonly cwd?: string
  /** Gives the child a pipe as standard input; `Child.stdin` is our end. Default: /dev/null. */
  readonly pipe?: boolean
  /** Called with each line of standard output and standard error, without its end. */
  readonly onLine: (line: string) => void
}

export interface Exit {
  /** Undefined when a signal ended it. */
  readonly code: number | undefined
  readonly signal: string | undefined
  /** True when `stop` asked for it. */
  readonly requested: boolean
}

export interface Child {
  readonly pid: number
  readonly stdin: Writable | undefined
  /** Settles once the process is gone and its output was read; never rejects. */
  readonly exited: Promise<Exit>
  /** SIGTERM, then SIGKILL after `grace` milliseconds. Settles with the exit; may be called again. */
  stop(grace: number): Promise<Exit>
}

/**
 * Starts a program that runs until it is stopped. It dies with this process: on an orderly end through execa, and on
 * a SIGKILL of ours through the kernel, as util-linux's setpriv arranges it (`PR_SET_PDEATHSIG`, prctl(2)).
 * @throws InsituError COMMAND_MISSING when the program cannot be started.
 */
export async function start(file: string, args: readonly string[], options: StartOptions): Promise<Child> {
  const found = await findProgram(file, options.env['PATH'] ?? '')
  if (found === undefined) throw missing(file)
  const spawn = (command: string, argv: readonly string[]) =>
    execa(command, [...argv], {
      reject: false,
      buffer: false,
      all: true,
      stdin: options.pipe ? 'pipe' : 'ignore',
      extendEnv: false,
      env: options.env,
      cleanup: true,
      // Left to itself execa kills five seconds after any SIGTERM: `stop` knows how long to wait.
      forceKillAfterDelay: false,
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    })
  // A session of its own: Ctrl-C in a terminal reaches us alone, and we end what we started in the right order.
  let child = spawn('setsid', ['setpriv', '--pdeathsig', 'SIGTERM', '--', found, ...args])
  if (child.pid === undefined) child = spawn(found, args)
  const pid = child.pid
  if (pid === undefined) {
    const result = await child
    throw missing(file, result)
  }
  let requested = false
  createInterface({ input: child.all, crlfDelay: Infinity }).on('line', options.onLine)
  const exited = child.then(
    (result): Exit => ({ code: result.exitCode, signal: result.signal, requested }),
    (): Exit => ({ code: undefined, signal: undefined, requested }),
  )
  return {
    pid,
    stdin: child.stdin ?? undefined,
    exited,
    async stop(grace) {
      requested = true
      child.kill('SIGTERM')
      const timer = setTimeout(() => child.kill('SIGKILL'), grace)
      try {
        return await exited
      } finally {
        clearTimeout(timer)
      }
    },
  }
}

const missing = (file: string, cause?: unknown): InsituError =>
  new InsituError('COMMAND_MISSING', `the program ${file} cannot be started`, {
    fix: `install ${file} and put it on the PATH`,
    cause,
  })
