import { randomBytes } from 'node:crypto'
import { InsituError } from '../../kernel/errors.ts'
import { grpcConnection } from '../../kernel/grpc/connection.ts'
import { fieldOf, messages, string } from '../../kernel/grpc/wire.ts'
import { callOf } from '../host/containerd-call.ts'
import { orMissing } from './containerd-images.ts'

/**
 * The lease that keeps the content behind remembered names: a name that was overwritten or deleted can be put back
 * although containerd collects what no name points to. Taken away when the agent ends; where containerd drops layers it
 * stays for the next agent.
 */
export const holdLease = 'insitu-images'

export interface Holds {
  /**
   * Keeps exactly these manifests and all they refer to. What is not kept any more is collected afterwards: nobody waits.
   * @param whole those of which everything is kept, whatever containerd knows of what they refer to.
   * @throws InsituError GRPC_CALL_FAILED
   */
  keep(digests: ReadonlySet<string>, whole?: ReadonlySet<string>): Promise<void>
  /** Keeps content that containerd is about to have, until it belongs to an image that is kept. */
  arriving(digest: string): Promise<void>
  /**
   * Keeps nothing any more. Where containerd drops layers all stays as it is: it would drop them while no agent runs, and to
   * hold thousands of them anew takes containerd minutes.
   */
  release(): Promise<void>
}

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
  const resource = (digest: string): Uint8Array =>
    Buffer.concat([fieldOf(1, holdLease), fieldOf(2, Buffer.concat([fieldOf(1, digest), fieldOf(2, 'content')]))])
  const add = (digest: string): Promise<Uint8Array> => call('AddResource', resource(digest))
  const held = async (): Promise<Set<string>> => {
    const answer = await orMissing(call('ListResources', fieldOf(1, holdLease)))
    if (answer) return new Set(messages(answer, 1).map((entry) => string(entry, 1)))
    // Another one may have made it meanwhile: layers arrive several at a time.
    await call('Create', fieldOf(1, holdLease)).catch((error: unknown) => {
      if (!(error instanceof InsituError && error.status === 'ALREADY_EXISTS')) throw error
    })
    return new Set()
  }
  const letGo = async (digest: string): Promise<void> => {
    if (!arrivals.has(digest)) await orMissing(call('DeleteResource', resource(digest)))
  }
  /** What was kept by its own digest. */
  let named: ReadonlySet<string> = new Set()
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
      for (const digest of whole) for (const part of (await partsOf?.(digest)) ?? []) all.add(part)
      await each(
        [...all].filter((digest) => !before.has(digest)),
        add,
      )
      // Whoever waits until an image is let go of looks for its own digest: that one goes after its layers.
      const over = Map.groupBy(
        [...before].filter((digest) => !all.has(digest)),
        (digest) => named.has(digest),
      )
      await each(over.get(false) ?? [], letGo)
      await each(over.get(true) ?? [], letGo)
      named = new Set(digests)
      if (over.size > 0) collectSoon()
    },
    async arriving(digest) {
      const known = arrivals.has(digest)
      arrivals.set(digest, Date.now() + arrival)
      if (known) return
      try {
        if (await orMissing(add(digest))) return
        await held()
        await add(digest)
      } catch (error) {
        // It is asked for again, and then tried again.
        arrivals.delete(digest)
        throw error
      }
    },
    async release() {
      again = false
      try {
        // It has a lease of its own while it runs.
        await collecting
        if (!partsOf) await orMissing(call('Delete', fieldOf(1, holdLease)))
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
