import { randomBytes } from 'node:crypto'
import { InsituError } from '../../kernel/errors.ts'
import { fieldOf, messages, string } from '../../kernel/grpc/wire.ts'
import { type ContainerdCall, containerdCall } from '../host/containerd-call.ts'
import { mapField, orMissing } from './containerd-images.ts'

/**
 * The lease that keeps the content behind remembered names: a name that was overwritten or deleted can be put back
 * although containerd collects what no name points to. Taken away when the agent ends.
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
  /** Keeps nothing any more; where containerd drops layers, what it kept stays for the next agent for an hour. */
  release(): Promise<void>
}

/** What is left in its place where containerd would drop layers while no agent runs. Ends by itself. */
export const leftLease = `${holdLease}-left`
/** Milliseconds that the next agent has. */
const leftFor = 3_600_000

const patience = 30_000
/** Milliseconds for which content is kept without its image: as long as a large one takes. */
const arrival = 3_600_000
/** A collection may have gigabytes to delete. */
const collection = 10 * 60_000

/** Field numbers: containerd, api/services/leases/v1/leases.proto. */
export function createHolds(
  address: string,
  namespace: string,
  /** All that an image refers to, where containerd drops layers that it has unpacked. */
  partsOf?: (digest: string) => Promise<Iterable<string>>,
): Holds {
  const arrivals = new Map<string, number>()
  const call = containerdCall(address, namespace)
  const resource = (digest: string, lease = holdLease): Uint8Array =>
    Buffer.concat([fieldOf(1, lease), fieldOf(2, Buffer.concat([fieldOf(1, digest), fieldOf(2, 'content')]))])
  /** Without complaint if it is there already: layers arrive several at a time. */
  const create = async (lease: string, labels: Readonly<Record<string, string>> = {}): Promise<void> => {
    const request = Buffer.concat([fieldOf(1, lease), ...mapField(3, labels)])
    await call('leases.v1.Leases/Create', request, patience).catch((error: unknown) => {
      if (!(error instanceof InsituError && error.status === 'ALREADY_EXISTS')) throw error
    })
  }
  const held = async (): Promise<Set<string>> => {
    const answer = await orMissing(call('leases.v1.Leases/ListResources', fieldOf(1, holdLease), patience))
    if (answer) return new Set(messages(answer, 1).map((entry) => string(entry, 1)))
    await create(holdLease)
    return new Set()
  }
  const leave = async (digests: ReadonlySet<string>): Promise<void> => {
    const expire = { 'containerd.io/gc.expire': new Date(Date.now() + leftFor).toISOString() }
    await orMissing(call('leases.v1.Leases/Delete', fieldOf(1, leftLease), patience))
    await create(leftLease, expire)
    for (const digest of digests) await call('leases.v1.Leases/AddResource', resource(digest, leftLease), patience)
  }
  let kept = false
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
      const first = !kept
      const before = await held()
      const all = new Set(digests)
      for (const digest of whole) for (const part of (await partsOf?.(digest)) ?? []) all.add(part)
      for (const [digest, until] of arrivals) {
        if (until < Date.now()) arrivals.delete(digest)
        else all.add(digest)
      }
      for (const digest of all) {
        if (!before.has(digest)) await call('leases.v1.Leases/AddResource', resource(digest), patience)
      }
      const over = [...before].filter((digest) => !all.has(digest))
      for (const digest of over) {
        await orMissing(call('leases.v1.Leases/DeleteResource', resource(digest), patience))
      }
      kept = true
      if (first && partsOf) await orMissing(call('leases.v1.Leases/Delete', fieldOf(1, leftLease), patience))
      if (over.length > 0) collectSoon()
    },
    async arriving(digest) {
      const known = arrivals.has(digest)
      arrivals.set(digest, Date.now() + arrival)
      if (known) return
      const added = await orMissing(call('leases.v1.Leases/AddResource', resource(digest), patience))
      if (added) return
      await held()
      await call('leases.v1.Leases/AddResource', resource(digest), patience)
    },
    async release() {
      again = false
      // It has a lease of its own while it runs.
      await collecting
      if (!partsOf) await orMissing(call('leases.v1.Leases/Delete', fieldOf(1, leftLease), patience))
      else if (kept) await leave(await held())
      await orMissing(call('leases.v1.Leases/Delete', fieldOf(1, holdLease), patience))
    },
  }
}

/**
 * Makes containerd collect now: whoever deleted an image (the kubelet, short of space) wants the space back. Only the
 * deletion of a lease can ask for that.
 */
async function collect(call: ContainerdCall): Promise<void> {
  const id = `${holdLease}-${randomBytes(4).toString('hex')}`
  await call('leases.v1.Leases/Create', fieldOf(1, id), patience)
  await orMissing(call('leases.v1.Leases/Delete', Buffer.concat([fieldOf(1, id), fieldOf(2, 1)]), collection))
}
