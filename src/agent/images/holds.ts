import { randomBytes } from 'node:crypto'
import { InsituError } from '../../kernel/errors.ts'
import { grpcConnection } from '../../kernel/grpc/connection.ts'
import { fieldOf, messages, string } from '../../kernel/grpc/wire.ts'
import { callOf } from '../host/containerd-call.ts'
import { mapField, orMissing } from './containerd-images.ts'

/**
 * The lease that keeps the content behind remembered names: a name that was overwritten or deleted can be put back
 * although containerd collects what no name points to. Taken away when the agent ends.
 */
export const holdLease = 'insitu-images'

export interface Holds {
  /**
   * Keeps exactly these manifests and all they refer to. What is not kept any more is collected afterwards, and what the last
   * agent left is taken over afterwards: nobody waits.
   * @param whole those of which everything is kept, whatever containerd knows of what they refer to.
   * @throws InsituError GRPC_CALL_FAILED
   */
  keep(digests: ReadonlySet<string>, whole?: ReadonlySet<string>): Promise<void>
  /** Keeps content that containerd is about to have, until it belongs to an image that is kept. */
  arriving(digest: string): Promise<void>
  /** Keeps nothing any more; where containerd drops layers, what it kept stays for the next agent for an hour. */
  release(): Promise<void>
}

/** What is left in its place where containerd would drop layers while no agent runs. Ends by itself. */
export const leftLease = `${holdLease}-left`
/** Milliseconds that the next agent has. */
const leftFor = 3_600_000

const patience = 30_000
/** Calls under way at a time. containerd's database takes one after the other, and waits for the disk after each. */
const atOnce = 16
/** Milliseconds for which content is kept without its image: as long as a large one takes. */
const arrival = 3_600_000
/** A collection may have gigabytes to delete. */
const collection = 10 * 60_000

/** One of the service's methods. */
type Call = (method: string, request: Uint8Array, timeout?: number) => Promise<Uint8Array>

/** Field numbers: containerd, api/services/leases/v1/leases.proto. */
export function createHolds(
  address: string,
  namespace: string,
  /** All that an image refers to, where containerd drops layers that it has unpacked. */
  partsOf?: (digest: string) => Promise<Iterable<string>>,
): Holds {
  const arrivals = new Map<string, number>()
  const connection = grpcConnection(address)
  const call: Call = (method, request, timeout = patience) =>
    connection.unary({ ...callOf(`leases.v1.Leases/${method}`, namespace), request, timeout })
  const resource = (digest: string, lease: string): Uint8Array =>
    Buffer.concat([fieldOf(1, lease), fieldOf(2, Buffer.concat([fieldOf(1, digest), fieldOf(2, 'content')]))])
  const add = (digest: string, lease = holdLease): Promise<Uint8Array> => call('AddResource', resource(digest, lease))
  const remove = (lease: string): Promise<unknown> => orMissing(call('Delete', fieldOf(1, lease)))
  /** Without complaint if it is there already: layers arrive several at a time. */
  const create = async (lease: string, labels: Readonly<Record<string, string>> = {}): Promise<void> => {
    await call('Create', Buffer.concat([fieldOf(1, lease), ...mapField(3, labels)])).catch((error: unknown) => {
      if (!(error instanceof InsituError && error.status === 'ALREADY_EXISTS')) throw error
    })
  }
  const held = async (): Promise<Set<string>> => {
    const answer = await orMissing(call('ListResources', fieldOf(1, holdLease)))
    if (answer) return new Set(messages(answer, 1).map((entry) => string(entry, 1)))
    await create(holdLease)
    return new Set()
  }
  let kept = false
  /** Parts of images that only the lease of the last agent keeps. */
  const left = new Set<string>()
  let tookOver = partsOf === undefined
  let takingOver: Promise<void> | undefined
  // Thousands of layers take longer than a build waits for its record. One after the other, since all others who write in
  // containerd's database wait for those that are under way.
  const takeOver = async (): Promise<void> => {
    for (const digest of left) {
      await add(digest)
      left.delete(digest)
    }
    await remove(leftLease)
    tookOver = true
  }
  /** What fails is tried again the next time. */
  const takeOverSoon = (): void => {
    if (tookOver) return
    takingOver ??= takeOver()
      .catch(() => undefined)
      .finally(() => (takingOver = undefined))
  }
  const leave = async (digests: ReadonlySet<string>): Promise<void> => {
    const expire = { 'containerd.io/gc.expire': new Date(Date.now() + leftFor).toISOString() }
    // What could not be taken over has nothing else that keeps it.
    if (tookOver) await remove(leftLease)
    await create(leftLease, expire)
    await each(digests, (digest) => add(digest, leftLease))
  }
  let collecting: Promise<void> | undefined
  let again = false
  // A node with many layers takes seconds for it, in which builds would not end and names would not be put back. Without
  // it containerd collects by itself, later.
  const collectSoon = (): void => {
    again = collecting !== undefined
    collecting ??= collect(call)
      .catch(() => undefined)
      .finally(() => {
        collecting = undefined
        if (again) collectSoon()
      })
  }
  return {
    async keep(digests, whole = new Set()) {
      const before = await held()
      const all = new Set(digests)
      for (const [digest, until] of arrivals) {
        if (until < Date.now()) arrivals.delete(digest)
        else all.add(digest)
      }
      const parts: string[] = []
      for (const digest of whole) parts.push(...((await partsOf?.(digest)) ?? []))
      // Later ones are few, and nothing else may keep them.
      if (!kept) for (const part of parts) if (!before.has(part) && !all.has(part)) left.add(part)
      for (const part of parts) all.add(part)
      for (const part of left) if (!all.has(part)) left.delete(part)
      await each(
        [...all].filter((digest) => !before.has(digest) && !left.has(digest)),
        (digest) => add(digest),
      )
      const over = [...before].filter((digest) => !all.has(digest))
      await each(over, (digest) => orMissing(call('DeleteResource', resource(digest, holdLease))))
      kept = true
      takeOverSoon()
      if (over.length > 0) collectSoon()
    },
    async arriving(digest) {
      const known = arrivals.has(digest)
      arrivals.set(digest, Date.now() + arrival)
      if (known || (await orMissing(add(digest)))) return
      await held()
      await add(digest)
    },
    async release() {
      again = false
      try {
        // It has a lease of its own while it runs.
        await collecting
        await takingOver
        if (!partsOf) await remove(leftLease)
        else if (kept) await leave(await held())
        await remove(holdLease)
      } finally {
        connection.close()
      }
    },
  }
}

async function each(digests: Iterable<string>, work: (digest: string) => Promise<unknown>): Promise<void> {
  const all = [...digests]
  for (let at = 0; at < all.length; at += atOnce) await Promise.all(all.slice(at, at + atOnce).map(work))
}

/**
 * Makes containerd collect now: whoever deleted an image (the kubelet, short of space) wants the space back. Only the
 * deletion of a lease can ask for that.
 */
async function collect(call: Call): Promise<void> {
  const id = `${holdLease}-${randomBytes(4).toString('hex')}`
  await call('Create', fieldOf(1, id))
  await orMissing(call('Delete', Buffer.concat([fieldOf(1, id), fieldOf(2, 1)]), collection))
}
