import { readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { parseMountinfo, type Mount } from '../../kernel/fs/mountinfo.ts'
import { run } from '../../kernel/process/run.ts'
import type { Logger } from '../../kernel/log.ts'

/** Names that BuildKit v0.33.1 gives to its temporary directories and sockets (`os.MkdirTemp` in its sources). */
const temporary =
  /^(buildkit\d+|buildkit-(mount|secrets|metadata|qemu-emulator|bundle-|bundle-create-)\d+|\.buildkit-ssh-sock\d+|qemu-check\d+|\.insitu-probe-.+)$/

export const isTemporary = (name: string): boolean => temporary.test(name)

/**
 * The mounts that a dead daemon left behind, deepest first. The daemon's network namespaces (`net/cni/ID`) stay:
 * it releases them itself at its next start, with the addresses that belong to them.
 * @param roots directories that belong to the daemon; mounts at the roots themselves are the pod's.
 */
export function leftoverMounts(mounts: readonly Mount[], roots: readonly string[]): string[] {
  const below = (path: string, root: string): boolean => path.startsWith(`${root}/`)
  return mounts
    .map((mount) => mount.mountPoint)
    .filter((point) => roots.some((root) => below(point, root)) && !roots.includes(point))
    .filter((point) => !roots.some((root) => below(point, join(root, 'net/cni'))))
    .toReversed()
}

export interface SweepOptions {
  readonly root: string
  readonly tmpdir: string
  readonly socket: string
  readonly log: Logger
}

/** Removes what a daemon that ended badly left: mounts, temporary directories, sockets. Only while none runs. */
export async function sweep(options: SweepOptions): Promise<void> {
  const mounts = parseMountinfo(await readFile('/proc/self/mountinfo', 'utf8'))
  const stuck: string[] = []
  for (const point of leftoverMounts(mounts, [options.root, options.tmpdir])) {
    await run('umount', ['--lazy', point]).then(
      () => options.log.warn({ mount: point }, 'unmounted what an earlier daemon left'),
      () => stuck.push(point),
    )
  }
  for (const entry of await readdir(options.tmpdir).catch(() => [])) {
    const path = join(options.tmpdir, entry)
    // A mount that could not be taken away may show files that are not ours to delete.
    if (!isTemporary(entry) || stuck.some((point) => point.startsWith(path))) continue
    await rm(path, { recursive: true, force: true })
    options.log.warn({ path }, 'removed a temporary directory that an earlier daemon left')
  }
  for (const path of [options.socket, join(options.root, 'otel-grpc.sock')]) await rm(path, { force: true })
}
