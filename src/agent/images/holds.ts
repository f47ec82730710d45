import { randomBytes } from 'node:crypto'
import { fieldOf, messages, string } from '../../kernel/grpc/wire.ts'
import { type ContainerdCall, containerdCall } from '../host/containerd-call.ts'
import { orMissing } from './containerd-images.ts'

/**
 * The lease that keeps the content behind remembered names: a name that was overwritten or deleted can be put back
 * although containerd collects what no name points to. Taken away when the agent ends.
 */
export const holdLease = 'insitu-images'

export interface Holds {
  /**
   * Keeps exactly these manifests and all they refer to. What is not kept any more is collected afterwards: nobody waits.
   * @throws InsituError GRPC_CALL_FAILED
   */
  keep(digests: ReadonlySet<string>): Promise<void>
  /** Keeps nothing any more. */
  release(): Promise<void>
}

const patience = 30_000
/** A collection may have gigabytes to delete. */
const collection = 10 * 60_000

/** Field numbers: containerd, api/services/leases/v1/leases.proto. */
export function createHolds(address: string, namespace: string): Holds {
  const call = containerdCall(address, namespace)
  const resource = (digest: string): Uint8Array =>
    Buffer.concat([fieldOf(1, holdLease), fieldOf(2, Buffer.concat([fieldOf(1, digest), fieldOf(2, 'content')]))])
  const held = async (): Promise<Set<string>> => {
    const answer = await orMissing(call('leases.v1.Leases/ListResources', fieldOf(1, holdLease), patience))
    if (answer) return new Set(messages(answer, 1).map((entry) => string(entry, 1)))
    await call('leases.v1.Leases/Create', fieldOf(1, holdLease), patience)
    return new Set()
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
    async keep(digests) {
      const before = await held()
      for (const digest of digests) {
        if (!before.has(digest)) await call('leases.v1.Leases/AddResource', resource(digest), patience)
      }
      const over = [...before].filter((digest) => !digests.has(digest))
      for (const digest of over) {
        await orMissing(call('leases.v1.Leases/DeleteResource', resource(digest), patience))
      }
      if (over.length > 0) collectSoon()
    },
    async release() {
      again = false
      // It has a lease of its own while it runs.
      await collecting
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
