import type { DaemonEnd } from '../../api/daemon-end.ts'
import type { Exit } from '../../kernel/process/start.ts'
import type { Finding } from '../../api/node-report.ts'
import { blamesDatabase } from './databases.ts'

export interface Life {
  readonly exit: Exit
  /** Milliseconds from start to end. */
  readonly uptime: number
  readonly wasReady: boolean
  /** The kernel's counter of memory kills before and after; undefined when there is none. */
  readonly memoryKills: readonly [number | undefined, number | undefined]
  readonly lastLines: readonly string[]
  /** Fast exits in a row before this one. */
  readonly failures: number
  /** Why we killed it ourselves. */
  readonly hung?: string | undefined
}

/** Its reason is for the log, the report and clients. */
export interface Verdict extends DaemonEnd {
  /** Fast exits in a row, this one included; 0 after a long life. */
  readonly failures: number
  /** Look for broken databases now; `blamed`: its own words point at one. */
  readonly databases: 'keep' | 'check' | 'blamed'
  readonly finding: Finding | undefined
}

/** A daemon that lived this long was well: its end starts a new count. */
const longLife = 60_000
/** So many fast exits in a row make the databases suspect. */
const suspicious = 3

/** What the end of a daemon means and what follows from it. */
export function judgeExit(life: Life): Verdict {
  const { exit } = life
  if (exit.requested) return { cause: 'stopped', reason: 'stopped', failures: 0, databases: 'keep', finding: undefined }
  const failures = life.uptime >= longLife ? 0 : life.failures + 1
  const [before, after] = life.memoryKills
  if (life.hung !== undefined) return { ...verdictOfHang(life.hung), failures }
  const memory = exit.signal === 'SIGKILL' && after !== undefined && after > (before ?? 0)
  const cause = memory ? 'memory' : exit.signal === 'SIGKILL' ? 'killed' : 'crashed'
  const words = lastWords(life.lastLines)
  const reason = memory
    ? 'buildkitd was killed by the kernel for want of memory'
    : exit.signal
      ? `buildkitd was killed by ${exit.signal}`
      : `buildkitd ended with exit code ${exit.code}${words ? `: ${words}` : ''}`
  const databases =
    life.wasReady || failures < suspicious ? 'keep' : blamesDatabase(life.lastLines) ? 'blamed' : 'check'
  return {
    cause,
    reason,
    failures,
    databases,
    finding: {
      code: memory ? 'DAEMON_OUT_OF_MEMORY' : 'DAEMON_DIED',
      severity: 'warning',
      message: reason,
      fix: memory
        ? 'raise the memory limit of the agent’s pod if it has one, look what else uses the node’s memory, or set max-parallelism'
        : 'read the agent’s log',
    },
  }
}

function verdictOfHang(words: string): Omit<Verdict, 'failures'> {
  const reason = `${words}; it was killed and is started again`
  return {
    cause: 'hung',
    reason,
    databases: 'keep',
    finding: {
      code: 'DAEMON_HUNG',
      severity: 'warning',
      message: reason,
      fix: 'look whether disks and containerd of the node answer, and whether somebody stopped the process',
    },
  }
}

/** buildkitd ends with `buildkitd: REASON` outside its JSON log. */
function lastWords(lines: readonly string[]): string {
  const plain = lines.filter((line) => line.startsWith('buildkitd: ')).at(-1)
  if (plain) return plain.slice('buildkitd: '.length)
  return lines.findLast((line) => line.startsWith('panic: ')) ?? ''
}
