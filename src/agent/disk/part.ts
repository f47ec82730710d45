import { join } from 'node:path'
import { agentSocket } from '../../api/agent-api.ts'
import type { ImageOrigin } from '../../api/built-on.ts'
import type { Part } from '../part.ts'
import { startKeeper } from './keeper.ts'
import { kubeletThresholds } from './kubelet.ts'
import { diskMetrics } from './metrics.ts'
import { nodeDisk } from './node.ts'
import { serveDisk } from './socket.ts'

export interface DiskPartOptions {
  /** Names of the images that insitu built, as they are known now: no other image is ever removed. */
  readonly built: () => ReadonlySet<string> | Promise<ReadonlySet<string>>
  /** What they were built on, for who asks on the node's socket. */
  readonly origins?: () => Promise<readonly ImageOrigin[]>
  /** Milliseconds between two looks. */
  readonly interval?: number
}

/** Keeps the node's disk below its budget and answers who holds it. */
export const diskPart = (options: DiskPartOptions): Part => ({
  name: 'disk',
  async start(context) {
    const { host, config, log } = context
    const disk = nodeDisk({
      place: {
        node: context.node,
        address: context.containerd,
        namespace: context.namespace,
        snapshotter: host.snapshotter ?? 'overlayfs',
        containerdRoot: host.distribution.root,
        root: context.root,
        tmpdir: context.tmpdir,
        socket: context.socket,
      },
      config: config.disk,
      kubelet: await kubeletThresholds(),
      built: options.built,
      alone: context.alone,
    })
    const { origins = () => Promise.resolve([]) } = options
    const socket = await serveDisk(join(context.runDirectory, agentSocket), disk, {
      origins: async () => ({ node: context.node, images: await origins() }),
    })
    // After all that may fail: nobody would stop it.
    const keeper = startKeeper({
      disk,
      log,
      onFindings: () => context.changed(),
      ...(options.interval === undefined ? {} : { interval: options.interval }),
    })
    return {
      findings: () => keeper.findings(),
      metrics: () => diskMetrics(keeper.fileSystems(), keeper.reclaimed()),
      async stop() {
        await socket.close()
        await keeper.stop()
      },
    }
  },
})
