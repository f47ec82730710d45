import { readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { parseMountinfo, type Mount } from '../../kernel/fs/mountinfo.ts'
import type { Logger } from '../../kernel/log.ts'
import { run } from '../../kernel/process/run.ts'

/** Names that BuildKit v0.33.1 gives to its temporary directories (`os.MkdirTemp` in its sources), and our probe's. */
const temporary =
  /^(buildkit\d+|buildkit-(mount|secrets|metadata|qemu-emulator|bundle-|bundle-create-)\d+|\.buildkit-ssh-sock\d+|qemu-check\d+|\.insitu-probe-.+)$/

export const isTemporary = (name: string): boolean => temporary.test(name)

/** Network namespaces of RUN steps, below the root. */
const namespaces = 'net/cni'

/**
 * The mounts that a dead daemon left behind, latest first.
 * @param roots directories that belong to the daemon; a mount at one of them is the pod's.
 * @param final false: the daemon starts again and releases its network namespaces itself, with their addresses.
 */
export function leftoverMounts(mounts: readonly Mount[], roots: readonly string[], final: boolean): string[] {
  const below = (path: string, root: string): boolean => path.startsWith(`${root}/`)
  return mounts
    .map((mount) => mount.mountPoint)
    .filter((point) => !roots.includes(point) && roots.some((root) => below(point, root)))
    .filter((point) => final || !roots.some((root) => below(point, join(root, namespaces))))
    .toReversed()
}

export interface SweepOptions {
  readonly root: string
  readonly tmpdir: string
  readonly socket: string
  readonly log: Logger
  /** True: no daemon starts after this one. Default false. */
  readonly final?: boolean
}

/** Removes what a daemon that ended badly left: mounts, temporary directories, sockets. Only while none runs. */
export async function sweep(options: SweepOptions): Promise<void> {
  const { root, tmpdir, log, final = false } = options
  const mounts = parseMountinfo(await readFile('/proc/self/mountinfo', 'utf8'))
  const stuck: string[] = []
  for (const point of leftoverMounts(mounts, [root, tmpdir], final)) {
    await run('umount', ['--lazy', point]).then(
      () => log.info({ mount: point }, 'unmounted what an earlier daemon left'),
      () => stuck.push(point),
    )
  }
  const remove = async (path: string): Promise<void> => {
    // A mount that could not be taken away shows files that are not ours to delete.
    if (stuck.some((point) => `${point}/`.startsWith(`${path}/`))) return
    await rm(path, { recursive: true, force: true })
  }
  for (const entry of await readdir(tmpdir).catch(() => [])) {
    if (!isTemporary(entry)) continue
    await remove(join(tmpdir, entry))
    log.info({ path: join(tmpdir, entry) }, 'removed a temporary directory that an earlier daemon left')
  }
  if (final) await remove(join(root, namespaces))
  for (const path of [options.socket, join(root, 'otel-grpc.sock')]) await rm(path, { force: true })
}
