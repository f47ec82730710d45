import { fieldOf, messages, string, stringMap } from '../../kernel/grpc/wire.ts'
import { containerdCall } from '../host/containerd-call.ts'

export interface Lease {
  readonly id: string
  readonly labels: Readonly<Record<string, string>>
}

/** A collection run after the last lease may have gigabytes to delete. */
const collection = 10 * 60_000
/** For all other calls; a busy containerd may take a while. */
const patience = 30_000

/**
 * containerd's leases of one namespace: what keeps the build cache's snapshots and content from being collected.
 * Field numbers: containerd, api/services/leases/v1/leases.proto and namespaces/v1/namespace.proto.
 */
export function containerdLeases(socket: string, namespace: string) {
  const call = containerdCall(socket, namespace)
  return {
    async list(): Promise<Lease[]> {
      const answer = await call('leases.v1.Leases/List', undefined, patience)
      return messages(answer, 1).map((lease) => ({ id: string(lease, 1), labels: stringMap(lease, 3) }))
    },
    /** @param wait true: returns after containerd has collected what nobody references any more. */
    async delete(id: string, wait: boolean): Promise<void> {
      const request = wait ? Buffer.concat([fieldOf(1, id), fieldOf(2, 1)]) : fieldOf(1, id)
      await call('leases.v1.Leases/Delete', request, wait ? collection : patience)
    },
    /** Removes the namespace itself. It must be empty. */
    async deleteNamespace(): Promise<void> {
      await call('namespaces.v1.Namespaces/Delete', fieldOf(1, namespace), patience)
    },
  }
}

/** The lease of a cache record, or of other compressions of its layer: BuildKit's identifiers have 25 characters. */
export const isRecordLease = ({ id, labels }: Lease): boolean =>
  /^[0-9a-z]{25}-variants$/.test(id) || (/^[0-9a-z]{25}$/.test(id) && 'containerd.io/gc.flat' in labels)

/** The record that such a lease belongs to. */
export const recordOf = ({ id }: Pick<Lease, 'id'>): string => id.replace(/-variants$/, '')

/** Made for one call, and deleted by the next daemon when this one does not live to do it. */
export const isTemporaryLease = ({ labels }: Pick<Lease, 'labels'>): boolean => 'buildkit/lease.temporary' in labels

/**
 * Leases of BuildKit's: records of its cache (cache/manager.go), those of calls that were cut off (util/leaseutil), and
 * other compressions of a layer, which carry no label but the record's identifier in their name (cache/refs.go).
 */
export const isBuildkitLease = ({ id, labels }: Lease): boolean =>
  'containerd.io/gc.flat' in labels || 'buildkit/lease.temporary' in labels || /^[0-9a-z]{25}-variants$/.test(id)

/** Start of the names of leases that hold nothing: with their deletion the agent asks containerd to collect at once. */
export const collectionLease = 'insitu-disk-'
