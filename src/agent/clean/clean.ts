import { existsSync } from 'node:fs'
import { readdir, readFile, rm, rmdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { describeError, grpcStatus, InsituError } from '../../kernel/errors.ts'
import { parseMountinfo } from '../../kernel/fs/mountinfo.ts'
import { run } from '../../kernel/process/run.ts'
import { openKernel } from '../binfmt/kernel.ts'
import { forgetHandlers, recallHandlers } from '../binfmt/memory.ts'
import { endSteps } from '../buildkitd/orphans.ts'
import { detect, everyCertsDirectory, marks } from '../host/distribution.ts'
import { withoutLinks } from '../host/host-path.ts'
import { findNeighbours } from '../host/neighbours.ts'
import { deletable, isForeign } from '../host/root-directory.ts'
import { removeMirror } from '../mirror/certs.ts'
import { registryDirectories } from '../mirror/config-path.ts'
import { containerdImages } from '../images/containerd-images.ts'
import { createHolds } from '../images/holds.ts'
import { unpinAll } from '../images/pins.ts'
import { collectionLease, containerdLeases, isBuildkitLease, type Lease } from './leases.ts'

export interface CleanOptions {
  /** buildkitd's root on the node. */
  readonly root: string
  readonly containerdAddress?: string | undefined
  /** containerd's namespace. */
  readonly namespace: string
  /** Leave the build cache for a later installation; only mounts are taken away. */
  readonly keepCache: boolean
  /** The node's file system and mount namespace, as seen by this process. */
  readonly hostRoot: string
}

export interface CleanResult {
  /** RUN steps that still ran, for a daemon that was gone. */
  readonly steps: number
  readonly unmounted: number
  /** Images whose pin, set by us, was taken off. */
  readonly unpinned: number
  /** Cache records and history entries whose hold on containerd's data ended. */
  readonly leases: number
  /** Paths on the node that are gone. */
  readonly removed: readonly string[]
}

/**
 * Takes away what the agent and buildkitd left on a node: RUN steps, mounts, the cache's hold on containerd's snapshots and
 * content, and buildkitd's directory. Images that were built stay: pods run from them.
 * @throws InsituError BUILDKITD_RUNS while a buildkitd still uses the namespace; CLEAN for what cannot be undone.
 */
export async function cleanNode(options: CleanOptions): Promise<CleanResult> {
  const { hostRoot, namespace } = options
  const onHost = (path: string): string => join(hostRoot, path)
  const root = await withoutLinks(resolve(options.root), onHost)
  const socket = await findSocket(options.containerdAddress, onHost)
  const address = onHost(socket)
  const [neighbour] = await findNeighbours({ address, namespace, root: onHost(root), own: new Set() })
  if (neighbour) {
    const what = neighbour.shares === 'namespace' ? `namespace ${namespace}` : root
    throw new InsituError('BUILDKITD_RUNS', `buildkitd (process ${neighbour.pid}) still uses ${what}`, {
      status: 'FAILED_PRECONDITION',
      fix: 'Stop it first; the cache is left alone.',
    })
  }
  await checkOurs(onHost(root), root)
  const answers = existsSync(address)
  if (!answers && !options.keepCache) await refuseBlind(onHost(root), socket)
  // The agent may have known its root under the name that leads there.
  const steps = answers ? await endAllSteps(address, namespace, [root, resolve(options.root)]) : 0
  await removeHandlers(onHost(root))
  const { unmounted, isMount } = await unmountBelow(root, hostRoot)
  const mirrored = await removeMirror({ directories: await certsDirectories(address, hostRoot), hostRoot })
  const unpinned = answers ? await unpin(address, namespace) : 0
  if (options.keepCache) return { steps, unmounted, unpinned, leases: 0, removed: [...mirrored] }

  const leases = answers ? await forget(address, namespace) : 0
  const removed: string[] = [...mirrored]
  if (existsSync(onHost(root))) {
    for (const name of deletable(await readdir(onHost(root)))) {
      await rm(join(onHost(root), name), { recursive: true, force: true })
    }
    // A disk of the node's that is mounted there stays mounted.
    if (!isMount) await rmdir(onHost(root))
    removed.push(root)
  }
  // Where the node's containerd lives elsewhere, the FIFOs' directory is there because of us. rmdir takes it if empty.
  for (const path of ['/run/containerd/fifo', '/run/containerd']) {
    await rmdir(onHost(path)).then(
      () => removed.push(path),
      () => {},
    )
  }
  return { steps, unmounted, unpinned, leases, removed }
}

/** Where the node has containerd's socket: as said, or where its distribution has it. */
async function findSocket(said: string | undefined, onHost: (path: string) => string): Promise<string> {
  if (said !== undefined) return withoutLinks(said, onHost)
  const seen = new Set<string>()
  for (const mark of marks) if (existsSync(onHost(await withoutLinks(mark, onHost)))) seen.add(mark)
  return withoutLinks(detect((mark) => seen.has(mark)).address, onHost)
}

/**
 * Without containerd the cache's leases and the pins would stay for ever: after the root nothing tells any more whose they are.
 * @throws InsituError CLEAN where there is a cache.
 */
async function refuseBlind(directory: string, socket: string): Promise<void> {
  if (deletable(await readdir(directory).catch(() => [])).length === 0) return
  throw new InsituError('CLEAN', `containerd's socket ${socket} is not there: what the cache holds cannot be let go`, {
    status: 'FAILED_PRECONDITION',
    fix: 'Start containerd, or name its socket with --containerd-address; --keep-cache leaves cache and pins as they are.',
  })
}

/**
 * Ends RUN steps that containerd still runs: nobody else ever would. @returns how many.
 * @throws InsituError CLEAN when one stays: nothing below it may be deleted.
 */
async function endAllSteps(address: string, namespace: string, roots: readonly string[]): Promise<number> {
  let ended = 0
  const stuck = await endSteps({ address, namespace, roots, onEnded: () => ended++ })
  if (stuck.length === 0) return ended
  throw new InsituError('CLEAN', `containers of RUN steps do not end: ${stuck.join(', ')}`, {
    status: 'FAILED_PRECONDITION',
    fix: 'A process that SIGKILL does not end waits for a device or a file system: see where it hangs, or restart the node.',
  })
}

/** Takes the handlers of emulators out of the kernel that an agent which was killed left there. */
async function removeHandlers(root: string): Promise<void> {
  const names = await recallHandlers(root)
  if (names.length === 0) return
  const kernel = await openKernel(tmpdir())
  try {
    for (const name of names) await kernel.remove(name)
  } finally {
    await kernel.close()
  }
  await forgetHandlers(root)
}

/** Where an agent that was killed may have left its mirror: also with a containerd that cannot be asked now. */
async function certsDirectories(address: string, hostRoot: string): Promise<readonly string[]> {
  const asked = await registryDirectories({ address, pid: undefined, hostRoot }).catch(() => [])
  return [...new Set([...asked, ...everyCertsDirectory])]
}

/** @throws InsituError CLEAN for a directory that holds other things than a buildkitd's: a mistyped path. */
async function checkOurs(directory: string, root: string): Promise<void> {
  const entries = await readdir(directory).catch(() => [])
  if (!isForeign(entries)) return
  throw new InsituError('CLEAN', `${root} holds nothing of a buildkitd's: it is left alone`, {
    status: 'FAILED_PRECONDITION',
    fix: 'Name the root that the agent used with --root.',
  })
}

/** Takes our pins off images, and our hold on what is behind their names: without an agent nobody would ever do it. */
async function unpin(socket: string, namespace: string): Promise<number> {
  const images = containerdImages(socket, namespace)
  try {
    await createHolds(socket, namespace).release()
    return await unpinAll(images)
  } finally {
    images.close()
  }
}

/** Ends BuildKit's leases and what a killed agent left of its own, and waits until containerd has collected what they held. */
async function forget(socket: string, namespace: string): Promise<number> {
  const cache = containerdLeases(socket, namespace)
  const history = containerdLeases(socket, `${namespace}_history`)
  const isOwn = (lease: Lease): boolean => isBuildkitLease(lease) || lease.id.startsWith(collectionLease)
  const own = (await cache.list()).filter(isOwn)
  const records = await history.list()
  for (const { id } of records) await ignoreMissing(history.delete(id, false))
  for (const [i, { id }] of own.entries()) await ignoreMissing(cache.delete(id, i === own.length - 1))
  // BuildKit's own namespace for finished builds. containerd refuses to delete it while anything is left in it, which
  // its collector may still be busy with; an empty namespace holds no data, so that is no failure.
  await history.deleteNamespace().catch(() => {})
  return own.length + records.length
}

async function ignoreMissing(work: Promise<void>): Promise<void> {
  try {
    await work
  } catch (error) {
    if (!(error instanceof InsituError && grpcStatus[error.status] === grpcStatus.NOT_FOUND)) throw error
  }
}

/**
 * Unmounts what is below the root on the node, deepest first; `isMount` tells whether the root itself is one, which is
 * then the node's own doing. @throws InsituError CLEAN when a mount stays: nothing below it may be deleted.
 */
async function unmountBelow(root: string, hostRoot: string): Promise<{ unmounted: number; isMount: boolean }> {
  // hostRoot is /proc/PID/root: its sibling tells the mounts of that process.
  const read = async (): Promise<string[]> =>
    parseMountinfo(await readFile(join(hostRoot, '../mountinfo'), 'utf8')).map((mount) => mount.mountPoint)
  const below = (point: string): boolean => point.startsWith(`${root}/`)
  const all = await read()
  const points = all.filter(below).toReversed()
  const namespace = join(hostRoot, '../ns/mnt')
  for (const point of points) {
    await run('nsenter', [`--mount=${namespace}`, '--', 'umount', '--lazy', point]).catch((error: unknown) => {
      throw new InsituError('CLEAN', `${point} cannot be unmounted: ${describeError(error)}`)
    })
  }
  const stuck = (await read()).find(below)
  if (stuck !== undefined) throw new InsituError('CLEAN', `${stuck} is still mounted`)
  return { unmounted: points.length, isMount: all.includes(root) }
}
