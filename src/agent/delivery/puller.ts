import { arch } from 'node:process'
import { grpcConnection } from '../../kernel/grpc/connection.ts'
import { fieldOf } from '../../kernel/grpc/wire.ts'
import type { MirrorAccess } from '../mirror/part.ts'

/** Lets the node's containerd pull a name, unpacked for the kubelet. @throws InsituError GRPC_CALL_FAILED, or the signal's reason. */
export type Puller = (name: string, signal: AbortSignal) => Promise<void>

export interface PullerOptions {
  /** containerd's socket. */
  readonly socket: string
  readonly namespace: string
}

/** The signal of whoever asked ends it before. */
const longest = 86_400_000

/**
 * As the kubelet pulls: by the CRI, whose registry configuration asks the mirror first. Field numbers: cri-api
 * runtime/v1, PullImageRequest.
 */
export const criPuller = (options: PullerOptions): Puller =>
  cancellable(options, '/runtime.v1.ImageService/PullImage', (name) => fieldOf(1, fieldOf(1, name)))

export interface TransferPullerOptions extends PullerOptions {
  /** A directory, at the same path on the node, with a hosts.toml that names the mirror (`_default/hosts.toml`). */
  readonly hostsDirectory: string
  readonly snapshotter: string
}

/**
 * By containerd's Transfer service with a registry configuration of our own: for nodes whose CRI cannot be told of the
 * mirror. Field numbers: containerd's api/services/transfer/v1 and api/types/transfer.
 */
export function transferPuller(options: TransferPullerOptions): Puller {
  const { hostsDirectory, snapshotter } = options
  const any = (type: string, value: Uint8Array): Uint8Array =>
    Buffer.concat([fieldOf(1, `containerd.types.transfer.${type}`), fieldOf(2, value)])
  const platform = Buffer.concat([fieldOf(1, 'linux'), fieldOf(2, architectures[arch] ?? arch)])
  return cancellable(options, '/containerd.services.transfer.v1.Transfer/Transfer', (name) => {
    const source = Buffer.concat([fieldOf(1, name), fieldOf(2, fieldOf(3, hostsDirectory))])
    const unpack = Buffer.concat([fieldOf(1, platform), fieldOf(2, snapshotter)])
    const destination = Buffer.concat([fieldOf(1, name), fieldOf(3, platform), fieldOf(10, unpack)])
    return Buffer.concat([fieldOf(1, any('OCIRegistry', source)), fieldOf(2, any('ImageStore', destination))])
  })
}

const architectures: Readonly<Record<string, string>> = { x64: 'amd64', arm: 'arm', arm64: 'arm64', ia32: '386' }

/** As the kubelet pulls where that asks the mirror, or where there is none; else by a transfer that asks it. */
export function nodePuller({
  mirror,
  ...options
}: PullerOptions & {
  readonly snapshotter: string
  readonly mirror: () => Pick<MirrorAccess, 'registered' | 'ownDirectory'> | undefined
}): Puller {
  const cri = criPuller(options)
  return (name, signal) => {
    const access = mirror()
    if (!access || access.registered()) return cri(name, signal)
    return transferPuller({ ...options, hostsDirectory: access.ownDirectory })(name, signal)
  }
}

/** containerd gives a pull up when the call that asked for it is gone: each has a connection of its own. */
function cancellable(
  { socket, namespace }: PullerOptions,
  method: string,
  encode: (name: string) => Uint8Array,
): Puller {
  return async (name, signal) => {
    signal.throwIfAborted()
    const connection = grpcConnection(socket)
    const cancel = (): void => connection.close()
    signal.addEventListener('abort', cancel, { once: true })
    try {
      const metadata = { 'containerd-namespace': namespace }
      await connection.unary({ method, request: encode(name), metadata, timeout: longest })
    } catch (error) {
      signal.throwIfAborted()
      throw error
    } finally {
      signal.removeEventListener('abort', cancel)
      connection.close()
    }
  }
}
