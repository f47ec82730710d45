import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describeError } from '../../kernel/errors.ts'
import type { Logger } from '../../kernel/log.ts'
import { type Child, start } from '../../kernel/process/start.ts'
import { run } from '../../kernel/process/run.ts'

const script = fileURLToPath(new URL('../../../bin/insitu-mirror-watchdog', import.meta.url))

export interface WatchdogOptions {
  /** Directories of registries, as this process sees them. */
  readonly directories: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly log: Logger
  /** Seconds of silence after which containerd is told to ask the mirror no more. Default 3. */
  readonly patience?: number
  /** Seconds of silence after which this process is killed. Default 20: containerd waits 30 for an answer. */
  readonly limit?: number
  /** Called after each beat; `late` after a silence in which the files may have been taken away. */
  readonly onBeat?: (late: boolean) => void
}

export interface Watchdog {
  /** Ends it; it takes the blocks out of the files if they are still there. */
  stop(): Promise<void>
}

/**
 * A small process that undoes the registration of the mirror when this one hangs: the kernel goes on taking
 * connections for a stopped process, and containerd would wait half a minute for each answer.
 */
export async function startWatchdog(options: WatchdogOptions): Promise<Watchdog> {
  const { directories, env, log, patience = 3, limit = 20, onBeat } = options
  const args = ['watch', String(patience), String(limit), String(process.pid), ...directories]
  let stopped = false
  let child: Child
  const launch = async (): Promise<void> => {
    child = await start(script, args, { env, pipe: true, onLine: (line) => log.error(line) })
    child.stdin?.on('error', () => undefined)
    void relaunch(child.exited)
  }
  const relaunch = async (exited: Child['exited']): Promise<void> => {
    const { code, signal } = await exited
    if (stopped) return
    log.warn({ code, signal }, 'the watchdog of the mirror ended and is started again')
    setTimeout(() => void launch().catch((error: unknown) => log.error(describeError(error))), 1000).unref()
  }
  await launch()
  let last = performance.now()
  const timer = setInterval(() => {
    const now = performance.now()
    child.stdin?.write('\n')
    onBeat?.(now - last > patience * 1000 - 500)
    last = now
  }, 1000)
  timer.unref()
  return {
    async stop() {
      stopped = true
      clearInterval(timer)
      child.stdin?.end()
      await child.exited
    },
  }
}

/** Whether the node's own network reaches the mirror at an address. */
export async function reachableFromNode(host: string, port: number, hostRoot: string): Promise<boolean> {
  try {
    await run('nsenter', [
      `--net=${join(hostRoot, '../ns/net')}`,
      '--',
      'timeout',
      '3',
      script,
      'probe',
      host,
      String(port),
    ])
    return true
  } catch {
    return false
  }
}
