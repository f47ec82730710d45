import { readdir, readFile, realpath, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { describeError } from '../../kernel/errors.ts'
import { parseMountinfo, type Mount } from '../../kernel/fs/mountinfo.ts'
import type { Logger } from '../../kernel/log.ts'
import { run } from '../../kernel/process/run.ts'

/** Names that BuildKit v0.33.1 gives to its temporary directories (`os.MkdirTemp` in its sources), and our probe's. */
const temporary =
  /^(buildkit\d+|buildkit-(mount|secrets|metadata|qemu-emulator|bundle-|bundle-create-)\d+|\.buildkit-ssh-sock\d+|qemu-check\d+|\.insitu-probe-.+)$/

export const isTemporary = (name: string): boolean => temporary.test(name)

/** Network namespaces of RUN steps, below the root. */
const namespaces = 'net/cni'
/** Those of steps whose network is a proxy of BuildKit's, which a new daemon does not use again. */
const proxyNamespaces = 'net/proxy'

export interface DaemonDirectories {
  /** buildkitd's root: all of it belongs to the daemon. */
  readonly root: string
  /** Its temporary directory. Outside of the root others may use it too: only what has a name of BuildKit's is its own. */
  readonly tmpdir: string
}

const below = (path: string, directory: string): boolean => path.startsWith(`${directory}/`)

/**
 * The mounts that a dead daemon left behind, latest first. A mount at one of its directories is the pod's.
 * @param final false: the daemon starts again and releases its network namespaces itself, with their addresses.
 */
export function leftoverMounts(
  mounts: readonly Mount[],
  { root, tmpdir }: DaemonDirectories,
  final: boolean,
): string[] {
  const own = (point: string): boolean =>
    below(point, root) || (below(point, tmpdir) && isTemporary(point.slice(tmpdir.length + 1).split('/')[0] ?? ''))
  return mounts
    .map((mount) => mount.mountPoint)
    .filter((point) => point !== root && point !== tmpdir && own(point))
    .filter((point) => final || !below(point, join(root, namespaces)))
    .toReversed()
}

export interface SweepOptions extends DaemonDirectories {
  readonly socket: string
  readonly log: Logger
  /** True: no daemon starts after this one. Default false. */
  readonly final?: boolean
}

/**
 * Removes what a daemon that ended badly left: mounts, temporary directories, sockets. Only while none runs. What
 * cannot be removed is logged and stays.
 */
export async function sweep(options: SweepOptions): Promise<void> {
  const { log, final = false } = options
  // The mount table knows directories by their real names only.
  const [root, tmpdir] = await Promise.all([real(options.root), real(options.tmpdir)])
  for (const point of leftoverMounts(await mountTable(), { root, tmpdir }, final)) {
    await run('umount', ['--lazy', point]).then(
      () => log.info({ mount: point }, 'unmounted what an earlier daemon left'),
      (error: unknown) => log.warn({ mount: point, err: describeError(error) }, 'a mount of an earlier daemon stays'),
    )
  }
  const left = (await mountTable()).map((mount) => mount.mountPoint)
  const remove = async (path: string): Promise<void> => {
    // Files behind a mount that is still there are not ours to delete.
    if (left.some((point) => point === path || below(point, path))) return
    await rm(path, { recursive: true, force: true }).catch((error: unknown) =>
      log.warn({ path, err: describeError(error) }, 'something that an earlier daemon left could not be removed'),
    )
  }
  for (const directory of new Set([tmpdir, root])) {
    for (const entry of await readdir(directory).catch(() => [])) {
      if (!isTemporary(entry)) continue
      await remove(join(directory, entry))
      log.info({ path: join(directory, entry) }, 'removed a temporary directory that an earlier daemon left')
    }
  }
  if (final) for (const directory of [namespaces, proxyNamespaces]) await remove(join(root, directory))
  for (const path of [options.socket, join(root, 'otel-grpc.sock')]) await remove(path)
}

const real = (path: string): Promise<string> => realpath(path).catch(() => path)

const mountTable = async (): Promise<Mount[]> => parseMountinfo(await readFile('/proc/self/mountinfo', 'utf8'))
