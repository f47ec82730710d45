import { grpcStatus, InsituError } from '../../kernel/errors.ts'
import { unary } from '../../kernel/grpc/unary.ts'
import { integer, messages, string, stringMap } from '../../kernel/grpc/wire.ts'
import { dirname } from 'node:path'

/** What a running containerd says about itself. */
export interface ContainerdFacts {
  /** Without the leading `v`. */
  readonly version: string
  /** Its process id in its own pid namespace, with that namespace's inode. 0: not told (containerd before 1.7). */
  readonly pid: number
  readonly pidNamespace: number
  readonly root: string | undefined
  readonly state: string | undefined
  /** Names of the snapshotters that work. */
  readonly snapshotters: readonly string[]
  /** The kubelet's snapshotter; undefined when there is no CRI plug-in, or its directory is none of containerd's. */
  readonly kubeletSnapshotter: string | undefined
  /** False: no CRI plug-in, so no kubelet uses this containerd. */
  readonly cri: boolean
  /** True: layers are dropped after unpacking, so they may be missing when an image is pushed or mirrored. */
  readonly discardsLayers: boolean
}

interface Plugin {
  readonly type: string
  readonly id: string
  readonly exports: Readonly<Record<string, string>>
  readonly failed: boolean
}

type Ask = (method: string, request?: Uint8Array) => Promise<Uint8Array>

/**
 * Asks containerd over its socket: version, introspection and, where there is one, its CRI plug-in. Field numbers:
 * containerd's api/services/{version,introspection}/v1 and Kubernetes' cri-api runtime/v1.
 * @throws InsituError GRPC_CALL_FAILED when nobody answers, or its CRI plug-in does not yet.
 */
export async function askContainerd(address: string): Promise<ContainerdFacts> {
  const ask: Ask = (method, request) => unary({ socket: address, method, ...(request ? { request } : {}) })
  const version = string(await ask('/containerd.services.version.v1.Version/Version'), 1).replace(/^v/, '')
  const server = await ask('/containerd.services.introspection.v1.Introspection/Server')
  const plugins = messages(await ask('/containerd.services.introspection.v1.Introspection/Plugins'), 1).map(readPlugin)
  const cri = await askCri(ask)
  const working = plugins.filter((plugin) => plugin.type === 'io.containerd.snapshotter.v1' && !plugin.failed)
  const content = plugins.find((plugin) => plugin.type === 'io.containerd.content.v1')?.exports['root']
  return {
    version,
    pid: integer(server, 2),
    pidNamespace: integer(server, 3),
    root: content === undefined ? undefined : dirname(content),
    state: cri.state,
    snapshotters: working.map((plugin) => plugin.id),
    kubeletSnapshotter: cri.imageDirectory
      ? (working.find((plugin) => plugin.exports['root'] === cri.imageDirectory)?.id ?? cri.configuredSnapshotter)
      : cri.configuredSnapshotter,
    cri: cri.present,
    discardsLayers: cri.discardsLayers || plugins.some((plugin) => plugin.exports['DiscardUnpackedLayers'] === 'true'),
  }
}

const readPlugin = (bytes: Uint8Array): Plugin => ({
  type: string(bytes, 1),
  id: string(bytes, 2),
  exports: stringMap(bytes, 5),
  failed: messages(bytes, 7).length > 0,
})

interface CriFacts {
  readonly present: boolean
  /** Where images are unpacked: the root of the snapshotter in use. */
  readonly imageDirectory?: string | undefined
  readonly configuredSnapshotter?: string | undefined
  readonly state?: string | undefined
  readonly discardsLayers: boolean
}

async function askCri(ask: Ask): Promise<CriFacts> {
  let images: Uint8Array
  let status: Uint8Array
  try {
    images = await ask('/runtime.v1.ImageService/ImageFsInfo')
    // StatusRequest.verbose = true: the answer then holds the plug-in's configuration as JSON.
    status = await ask('/runtime.v1.RuntimeService/Status', Uint8Array.of(8, 1))
  } catch (error) {
    // After containerd's start the plug-in refuses calls until it has read what runs: that one must not count as absent.
    const absent = error instanceof InsituError && grpcStatus[error.status] === grpcStatus.UNIMPLEMENTED
    if (!absent) throw error
    return { present: false, discardsLayers: false }
  }
  const [usage] = messages(images, 1)
  const [identifier] = usage ? messages(usage, 2) : []
  const config = criConfig(stringMap(status, 2)['config'])
  return {
    present: true,
    imageDirectory: identifier ? string(identifier, 1) : undefined,
    configuredSnapshotter: config.containerd?.snapshotter,
    state: config.stateDir === undefined ? undefined : dirname(config.stateDir),
    discardsLayers: config.containerd?.discardUnpackedLayers ?? false,
  }
}

interface CriConfig {
  readonly stateDir?: string
  /** containerd 1.x keeps both here, 2.x in its image plug-in. */
  readonly containerd?: { readonly snapshotter?: string; readonly discardUnpackedLayers?: boolean }
}

function criConfig(json: string | undefined): CriConfig {
  try {
    return JSON.parse(json ?? '{}') as CriConfig
  } catch {
    return {}
  }
}
