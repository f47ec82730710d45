import { type GrpcConnection, grpcConnection } from '../../kernel/grpc/connection.ts'
import { fieldOf, integer, messages, string, stringMap } from '../../kernel/grpc/wire.ts'
import { callOf } from '../host/containerd-call.ts'
import type { Blob, Snapshot, Stored, StoredContainer, StoredImage, StoredLease } from './reach.ts'

export interface ContainerdPlace {
  /** Path of containerd's socket. */
  readonly address: string
  readonly namespace: string
  readonly snapshotter: string
}

const active = 2
/** Sizes of large snapshots are counted file by file once. */
const patience = 60_000

/**
 * Reads what containerd holds, with sizes. Field numbers: containerd's api/services/{snapshots,content,images,leases,
 * containers}/v1. Writable layers of containers are left without a size: counting them walks all their files.
 * @throws InsituError GRPC_CALL_FAILED
 */
export async function readStored(place: ContainerdPlace): Promise<Stored> {
  const connection = grpcConnection(place.address)
  const call = callsOf(connection, place.namespace)
  try {
    const containers = messages(await call.unary('containers.v1.Containers/List'), 1).map(readContainer)
    const leases: StoredLease[] = []
    for (const lease of messages(await call.unary('leases.v1.Leases/List'), 1)) {
      const id = string(lease, 1)
      const resources = await call.unary('leases.v1.Leases/ListResources', fieldOf(1, id)).catch(() => undefined)
      leases.push({
        id,
        createdAt: timestamp(messages(lease, 2)[0]),
        labels: stringMap(lease, 3),
        resources: resources ? messages(resources, 1).map((r) => ({ id: string(r, 1), type: string(r, 2) })) : [],
      })
    }
    const images = messages(await call.unary('images.v1.Images/List'), 1).map(readImage)
    return {
      containers,
      leases,
      images,
      blobs: await readBlobs(call),
      snapshots: await readSnapshots(call, place.snapshotter, new Set(containers.map((c) => c.snapshotKey))),
    }
  } finally {
    connection.close()
  }
}

type Call = ReturnType<typeof callsOf>

const callsOf = (connection: GrpcConnection, namespace: string) => {
  const of = (method: string, request?: Uint8Array) => ({
    ...callOf(method, namespace),
    timeout: patience,
    ...(request === undefined ? {} : { request }),
  })
  return {
    unary: (method: string, request?: Uint8Array) => connection.unary(of(method, request)),
    stream: (method: string, request: Uint8Array | undefined, onMessage: (message: Uint8Array) => void) =>
      connection.stream(of(method, request), onMessage),
  }
}

async function readBlobs(call: Call): Promise<Map<string, Blob>> {
  const blobs = new Map<string, Blob>()
  await call.stream('content.v1.Content/List', undefined, (answer) => {
    for (const info of messages(answer, 1)) {
      blobs.set(string(info, 1), { bytes: integer(info, 2), labels: stringMap(info, 5) })
    }
  })
  return blobs
}

async function readSnapshots(
  call: Call,
  snapshotter: string,
  ofContainers: ReadonlySet<string>,
): Promise<Map<string, Snapshot>> {
  const infos: Uint8Array[] = []
  await call.stream('snapshots.v1.Snapshots/List', fieldOf(1, snapshotter), (answer) => {
    for (const info of messages(answer, 1)) infos.push(Uint8Array.from(info))
  })
  const snapshots = new Map<string, Snapshot>()
  for (const info of infos) {
    const key = string(info, 1)
    const skip = integer(info, 3) === active && ofContainers.has(key)
    const request = Buffer.concat([fieldOf(1, snapshotter), fieldOf(2, key)])
    // One that is removed meanwhile has no size.
    const usage = skip ? undefined : await call.unary('snapshots.v1.Snapshots/Usage', request).catch(() => undefined)
    snapshots.set(key, {
      parent: string(info, 2),
      bytes: usage ? integer(usage, 1) : 0,
      inodes: usage ? integer(usage, 2) : 0,
      labels: stringMap(info, 6),
    })
  }
  return snapshots
}

const readContainer = (bytes: Uint8Array): StoredContainer => ({
  id: string(bytes, 1),
  labels: stringMap(bytes, 2),
  image: string(bytes, 3),
  snapshotter: string(bytes, 6),
  snapshotKey: string(bytes, 7),
})

/** An encoded containerd.services.images.v1.Image. */
export const readImage = (bytes: Uint8Array): StoredImage => {
  const [target] = messages(bytes, 3)
  return {
    name: string(bytes, 1),
    labels: stringMap(bytes, 2),
    digest: target ? string(target, 2) : '',
    updatedAt: timestamp(messages(bytes, 8)[0]),
  }
}

/** google.protobuf.Timestamp as milliseconds since 1970; 0 when absent. */
export const timestamp = (bytes: Uint8Array | undefined): number =>
  bytes === undefined ? 0 : integer(bytes, 1) * 1000 + Math.floor(integer(bytes, 2) / 1e6)
