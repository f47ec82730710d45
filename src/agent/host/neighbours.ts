import { readdir, readFile, stat } from 'node:fs/promises'
import { parseToml } from '../../kernel/config/toml.ts'
import { isTable } from '../buildkitd/check-keys.ts'
import { foreignIdentity, readForeign } from './foreign-files.ts'

export interface Neighbour {
  readonly pid: number
  /** What it uses that must be ours alone: containerd's namespace, or buildkitd's root. */
  readonly shares: 'namespace' | 'root'
}

/** What a buildkitd's command line and configuration say about its root and its containerd worker. */
export interface WorkerAddress {
  readonly root: string
  readonly enabled: boolean
  readonly address: string
  readonly namespace: string
}

/**
 * Reads a buildkitd's worker from its arguments and its configuration; flags win, as in buildkitd. Defaults are
 * those of cmd/buildkitd/main_containerd_worker.go.
 */
export function workerOf(args: readonly string[], config: string | undefined): WorkerAddress {
  const flag = (name: string): string | undefined => {
    for (const [index, arg] of args.entries()) {
      const match = /^--?([a-z-]+)(?:=(.*))?$/.exec(arg)
      if (match?.[1] === name) return match[2] ?? args[index + 1]
    }
    return undefined
  }
  let table: unknown
  try {
    table = parseToml(config ?? '', 'buildkitd.toml')
  } catch {
    table = {}
  }
  const text = (value: unknown): string | undefined => (typeof value === 'string' && value !== '' ? value : undefined)
  const root = flag('root') ?? text(isTable(table) ? table['root'] : undefined) ?? '/var/lib/buildkit'
  for (const part of ['worker', 'containerd']) table = isTable(table) ? table[part] : undefined
  const set = (key: string): unknown => (isTable(table) ? table[key] : undefined)
  return {
    root,
    enabled: flag('containerd-worker') === undefined ? set('enabled') !== false : flag('containerd-worker') !== 'false',
    address: (flag('containerd-worker-addr') ?? text(set('address')) ?? '/run/containerd/containerd.sock').replace(
      /^unix:\/\//,
      '',
    ),
    namespace: flag('containerd-worker-namespace') ?? text(set('namespace')) ?? 'buildkit',
  }
}

export interface NeighbourQuery {
  /** containerd's socket as we see it. */
  readonly address: string
  readonly namespace: string
  /** buildkitd's root as we see it. */
  readonly root: string
  /** Process ids that are ours. */
  readonly own: ReadonlySet<number>
}

/**
 * Other buildkitd processes on the same containerd and namespace, or on the same root whatever their worker is. A
 * starting buildkitd deletes every temporary lease of its namespace (worker/base/worker.go), so two of them destroy
 * each other's builds; and below a root that another one uses nothing may be swept. Sees the whole node only with the
 * node's pid namespace (hostPID).
 * @param proc where processes are seen.
 */
export async function findNeighbours(query: NeighbourQuery, proc = '/proc'): Promise<Neighbour[]> {
  const [socket, root] = await Promise.all([identity(query.address), identity(query.root)])
  const found: Neighbour[] = []
  for (const entry of await readdir(proc)) {
    const pid = Number(entry)
    if (!Number.isInteger(pid) || query.own.has(pid)) continue
    try {
      if ((await readFile(`${proc}/${pid}/comm`, 'utf8')).trim() !== 'buildkitd') continue
      const args = (await readFile(`${proc}/${pid}/cmdline`, 'utf8')).split('\0')
      // A process that has ended and was not waited for yet.
      if (args.join('') === '') continue
      const flag = args.findIndex((arg) => /^--?config(=|$)/.test(arg))
      const file = flag < 0 ? '/etc/buildkit/buildkitd.toml' : (args[flag]?.split('=')[1] ?? args[flag + 1] ?? '')
      // Any pod can have a process of this name, with any file and any link.
      const theirs = `${proc}/${pid}/root`
      const worker = workerOf(args, await readForeign(theirs, file))
      const same = async (path: string, ours: string | undefined): Promise<boolean> =>
        ours !== undefined && (await foreignIdentity(theirs, path)) === ours
      if (worker.enabled && worker.namespace === query.namespace && (await same(worker.address, socket))) {
        found.push({ pid, shares: 'namespace' })
      } else if (await same(worker.root, root)) {
        found.push({ pid, shares: 'root' })
      }
    } catch {
      // The process ended while it was looked at.
    }
  }
  return found
}

async function identity(path: string): Promise<string | undefined> {
  try {
    const { dev, ino } = await stat(path, { bigint: true })
    return `${dev}:${ino}`
  } catch {
    return undefined
  }
}
