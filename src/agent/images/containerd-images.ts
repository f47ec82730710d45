import { grpcStatus, InsituError } from '../../kernel/errors.ts'
import { type GrpcConnection, grpcConnection } from '../../kernel/grpc/connection.ts'
import { fieldOf, integer, messages, string, stringMap } from '../../kernel/grpc/wire.ts'
import { callOf } from '../host/containerd-call.ts'
import { followEvents } from '../host/containerd-events.ts'
import type { NodeImage } from './record.ts'

type Labels = Readonly<Record<string, string>>

/** Image names, and what they need, in one namespace of containerd. Every call throws InsituError GRPC_CALL_FAILED. */
export interface ContainerdImages {
  list(): Promise<NodeImage[]>
  /** undefined: there is no such name. */
  get(name: string): Promise<NodeImage | undefined>
  create(name: string, target: Uint8Array, labels: Labels): Promise<void>
  /** Points an existing name elsewhere; its labels stay. */
  setTarget(name: string, target: Uint8Array): Promise<void>
  /** Sets labels, or takes those away whose value is empty; the name's target is left alone. */
  setLabels(image: NodeImage, labels: Labels): Promise<void>
  /** Without complaint if it is gone already. */
  delete(name: string): Promise<void>
  /** Labels of a blob, or undefined when it is not here. */
  contentLabels(digest: string): Promise<Labels | undefined>
  /** Whether a snapshotter has a committed snapshot of this name. */
  hasSnapshot(snapshotter: string, key: string): Promise<boolean>
  /** Digests of all blobs. */
  blobs(): Promise<Set<string>>
  /** Names of a snapshotter's snapshots. */
  snapshots(snapshotter: string): Promise<Set<string>>
  /** Stores a blob, or does nothing when it is here. */
  write(digest: string, content: Uint8Array, labels: Labels): Promise<void>
  /** Names (`docker.io/…`, `sha256:…` of the CRI plug-in) that containers were made from, running or not. */
  inContainers(): Promise<Set<string>>
  /** Calls back for each change until closed. */
  subscribe(onChange: (change: Change) => void): Promise<void>
  close(): void
}

export type Change =
  | { readonly of: 'image'; readonly name: string }
  | { readonly of: 'containers' }
  /** Content or a snapshot is gone. */
  | { readonly of: 'loss' }

const patience = 30_000
/** WriteAction of containerd's content service. */
const commit = 2

/** Field numbers: containerd's api/services/{images,content,snapshots,containers}/v1. */
export function containerdImages(address: string, namespace: string): ContainerdImages {
  const connection = grpcConnection(address)
  const call = (method: string, request: Uint8Array = new Uint8Array()): Promise<Uint8Array> =>
    connection.unary({ ...callOf(method, namespace), request, timeout: patience })
  /** The first field of each thing that a list in pieces has. */
  const names = async (method: string, request: Uint8Array = new Uint8Array()): Promise<Set<string>> => {
    const all = new Set<string>()
    await connection.stream({ ...callOf(method, namespace), request, timeout: patience }, (answer) => {
      for (const one of messages(answer, 1)) all.add(string(one, 1))
    })
    return all
  }
  const image = (name: string, fields: readonly Uint8Array[]): Uint8Array =>
    fieldOf(1, Buffer.concat([fieldOf(1, name), ...fields]))
  const mask = (paths: readonly string[]): Uint8Array =>
    fieldOf(2, Buffer.concat(paths.map((path) => fieldOf(1, path))))
  return {
    list: async () => messages(await call('images.v1.Images/List'), 1).map(readImage),
    async get(name) {
      const answer = await orMissing(call('images.v1.Images/Get', fieldOf(1, name)))
      const [found] = answer ? messages(answer, 1) : []
      return found ? readImage(found) : undefined
    },
    async create(name, target, labels) {
      await call('images.v1.Images/Create', image(name, [fieldOf(3, target), ...mapField(2, labels)]))
    },
    async setTarget(name, target) {
      await call('images.v1.Images/Update', Buffer.concat([image(name, [fieldOf(3, target)]), mask(['target'])]))
    },
    async setLabels({ name, target }, labels) {
      const paths = Object.keys(labels).map((key) => `labels.${key}`)
      // containerd reads the target whatever the mask says, and ends with a panic without one (2.4.2).
      const fields = [fieldOf(3, target), ...mapField(2, labels)]
      await orMissing(call('images.v1.Images/Update', Buffer.concat([image(name, fields), mask(paths)])))
    },
    async delete(name) {
      await orMissing(call('images.v1.Images/Delete', fieldOf(1, name)))
    },
    async contentLabels(digest) {
      const answer = await orMissing(call('content.v1.Content/Info', fieldOf(1, digest)))
      const [info] = answer ? messages(answer, 1) : []
      return info ? stringMap(info, 5) : undefined
    },
    async hasSnapshot(snapshotter, key) {
      const request = Buffer.concat([fieldOf(1, snapshotter), fieldOf(2, key)])
      return (await orMissing(call('snapshots.v1.Snapshots/Stat', request))) !== undefined
    },
    blobs: () => names('content.v1.Content/List'),
    snapshots: (snapshotter) => names('snapshots.v1.Snapshots/List', fieldOf(1, snapshotter)),
    async write(digest, content, labels) {
      // WRITE and COMMIT in one message: COMMIT takes data too (containerd v2.4.2, services/content/contentserver).
      const fields = [fieldOf(1, commit), fieldOf(2, `insitu-${digest}`), fieldOf(3, content.length)]
      const request = Buffer.concat([...fields, fieldOf(4, digest), fieldOf(6, content), ...mapField(7, labels)])
      await call('content.v1.Content/Write', request).catch((error: unknown) => {
        if (!(error instanceof InsituError && error.status === 'ALREADY_EXISTS')) throw error
      })
    },
    async inContainers() {
      const all = messages(await call('containers.v1.Containers/List'), 1)
      const others = all.filter((container) => !('io.cri-containerd.kind' in stringMap(container, 2)))
      // The CRI plug-in's containers name the tag they were made from, which may mean another image by now.
      const ofCri = await connection
        .unary({ method: '/runtime.v1.RuntimeService/ListContainers', timeout: patience })
        .catch(ignoreUnimplemented)
      return new Set([
        ...others.map((container) => string(container, 3)),
        ...messages(ofCri, 1).flatMap((container) => [string(container, 5), string(container, 10)]),
      ])
    },
    subscribe: (onChange) => subscribe(connection, namespace, onChange),
    close: () => connection.close(),
  }
}

/** Field numbers of the event: containerd's api/events/image.proto. */
const subscribe = (connection: GrpcConnection, namespace: string, onChange: (change: Change) => void): Promise<void> =>
  followEvents({
    ...{ connection, namespace },
    topics: ['^/images/', '^/containers/(create|delete)', '^/(content/delete|snapshot/remove)'],
    onEvent(topic, event) {
      if (topic.startsWith('/images/') && event) onChange({ of: 'image', name: string(event, 1) })
      else onChange({ of: topic.startsWith('/containers/') ? 'containers' : 'loss' })
    },
  })

const readImage = (bytes: Uint8Array): NodeImage => {
  const target = Uint8Array.from(messages(bytes, 3)[0] ?? [])
  const updated = messages(bytes, 8)[0]
  return {
    ...{ name: string(bytes, 1), labels: stringMap(bytes, 2), target, digest: string(target, 2) },
    ...(updated ? { updated: integer(updated, 1) * 1000 } : {}),
  }
}

const mapField = (number: number, map: Labels): Uint8Array[] =>
  Object.entries(map).map(([key, value]) => fieldOf(number, Buffer.concat([fieldOf(1, key), fieldOf(2, value)])))

/** No CRI plug-in: no containers of it. */
function ignoreUnimplemented(error: unknown): Uint8Array {
  if (error instanceof InsituError && error.status === 'UNIMPLEMENTED') return new Uint8Array()
  throw error
}

/** undefined instead of NOT_FOUND. */
export async function orMissing<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work
  } catch (error) {
    if (error instanceof InsituError && grpcStatus[error.status] === grpcStatus.NOT_FOUND) return undefined
    throw error
  }
}
