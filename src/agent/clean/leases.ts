import { unary } from '../../kernel/grpc/unary.ts'
import { messages, string, stringMap } from '../../kernel/grpc/wire.ts'

export interface Lease {
  readonly id: string
  readonly labels: Readonly<Record<string, string>>
}

/** A collection run after the last lease may have gigabytes to delete. */
const collection = 10 * 60_000

/**
 * containerd's leases of one namespace: what keeps the build cache's snapshots and content from being collected.
 * Field numbers: containerd, api/services/leases/v1/leases.proto and namespaces/v1/namespace.proto.
 */
export function containerdLeases(socket: string, namespace: string) {
  const call = (service: string, method: string, request: Uint8Array, timeout = 30_000): Promise<Uint8Array> =>
    unary({
      socket,
      method: `/containerd.services.${service}/${method}`,
      request,
      metadata: { 'containerd-namespace': namespace },
      timeout,
    })
  return {
    async list(): Promise<Lease[]> {
      const answer = await call('leases.v1.Leases', 'List', new Uint8Array())
      return messages(answer, 1).map((lease) => ({ id: string(lease, 1), labels: stringMap(lease, 3) }))
    },
    /** @param wait true: returns after containerd has collected what nobody references any more. */
    async delete(id: string, wait: boolean): Promise<void> {
      const request = Buffer.concat([field(1, id), wait ? Uint8Array.of(2 << 3, 1) : new Uint8Array()])
      await call('leases.v1.Leases', 'Delete', request, wait ? collection : undefined)
    },
    /** Removes the namespace itself. It must be empty. */
    async deleteNamespace(): Promise<void> {
      await call('namespaces.v1.Namespaces', 'Delete', field(1, namespace))
    },
  }
}

/** A string field of a protobuf message. */
function field(number: number, value: string): Uint8Array {
  const bytes = Buffer.from(value, 'utf8')
  const length: number[] = []
  for (let rest = bytes.length; ; rest >>>= 7) {
    length.push(rest > 0x7f ? (rest & 0x7f) | 0x80 : rest)
    if (rest <= 0x7f) break
  }
  return Buffer.concat([Uint8Array.of((number << 3) | 2, ...length), bytes])
}

/**
 * Leases of BuildKit's: records of its cache (cache/manager.go), those of calls that were cut off (util/leaseutil), and
 * other compressions of a layer, which carry no label but the record's identifier in their name (cache/refs.go).
 */
export const isBuildkitLease = ({ id, labels }: Lease): boolean =>
  'containerd.io/gc.flat' in labels || 'buildkit/lease.temporary' in labels || /^[0-9a-z]{25}-variants$/.test(id)
