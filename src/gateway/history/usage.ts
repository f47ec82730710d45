import { create, toBinary } from '@bufbuild/protobuf'
import { DiskUsageResponseSchema, type UsageRecord } from '../../buildkit/gen/control_pb.ts'
import { fieldAt, fieldOf } from '../../kernel/grpc/wire.ts'
import type { Missing } from './ask.ts'
import { packed } from './packed.ts'

/** BuildKit's clients accept messages of 16 MiB. There is room left for what is said about nodes. */
const mostBytes = 12 << 20

/** Bytes of a description where all of them are too many. */
const shortened = 100

/** What a record takes in the answer besides itself, at most. */
const overhead = 8

/** Records of several nodes that make one answer. */
export interface Usage {
  /** @param record of a node, encoded. What of it stays is copied. */
  add(node: string, record: Buffer): void
  /** The node is missing: what was heard of it does not count. */
  forget(node: string): void
  /** Bytes of memory that the records in it take. */
  readonly memory: number
  /** The encoded DiskUsageResponse. */
  answer(missing: readonly Missing[]): Uint8Array
}

/** What clients add up. */
interface Counted {
  readonly node: string
  readonly size: number
  readonly inUse: boolean
  readonly shared: boolean
}

interface Kept extends Counted {
  /** Encoded. */
  record: Buffer
}

/** Records that are left out, alike in what clients add up. */
interface Rest extends Counted {
  readonly records: number
}

/**
 * Collects the records of all nodes and never holds more than clients accept: when they are too many, long descriptions
 * are shortened, and then the smaller records of each node become one, whose size is theirs together.
 * @param descriptions whether the client may read them.
 */
export function createUsage({ descriptions, most = mostBytes }: { descriptions: boolean; most?: number }): Usage {
  let kept: Kept[] = []
  const rests = new Map<string, Rest>()
  let bytes = 0
  let longest = descriptions ? Infinity : 0
  /** Smaller records are left out. */
  let least = 0
  let keep = packed()

  const recount = (): void => void (bytes = kept.reduce((sum, { record }) => sum + record.length + overhead, 0))
  /** Moves what is kept to new memory: what is left out takes as much of the old as ever. */
  const repack = (): void => {
    keep = packed()
    for (const one of kept) one.record = keep(one.record)
  }
  const leaveOut = ({ node, size, inUse, shared }: Kept): void => {
    const key = `${inUse} ${shared} ${node}`
    const rest = rests.get(key) ?? { ...{ node, inUse, shared }, size: 0, records: 0 }
    rests.set(key, { ...rest, size: rest.size + size, records: rest.records + 1 })
  }
  const shorten = (): void => {
    longest = shortened
    for (const one of kept) one.record = read(one.node, one.record, longest).record
    recount()
  }
  const leaveOutSmallest = (): void => {
    kept.sort((a, b) => b.size - a.size)
    // A good deal at once: sorting takes its time.
    while (bytes > 0.75 * most) {
      const smallest = kept.pop()
      if (!smallest) break
      bytes -= smallest.record.length + overhead
      least = smallest.size
      leaveOut(smallest)
    }
  }
  const shrink = (): void => {
    if (longest > shortened) shorten()
    if (bytes > most) leaveOutSmallest()
    repack()
  }

  return {
    add(node, record) {
      const one = read(node, record, longest)
      if (one.size < least) return leaveOut(one)
      one.record = keep(one.record)
      kept.push(one)
      bytes += one.record.length + overhead
      if (bytes > most) shrink()
    },
    forget(node) {
      kept = kept.filter((one) => one.node !== node)
      for (const [key, rest] of rests) if (rest.node === node) rests.delete(key)
      recount()
    },
    get memory() {
      return [...new Set(kept.map(({ record }) => record.buffer))].reduce((sum, { byteLength }) => sum + byteLength, 0)
    },
    answer(missing) {
      const records = kept.map(({ record }) => fieldOf(fields.record, record))
      return Buffer.concat([...records, said([...rests.values()].map(sayRest)), said(missing.map(sayMissing))])
    },
  }
}

/** Numbers in DiskUsageResponse and UsageRecord: decoding would take a second for the records of a large cluster. */
const fields = { record: 1, inUse: 3, size: 4, description: 9, shared: 11 } as const

/** @param longest bytes of the description that is left in the record. */
function read(node: string, record: Buffer, longest: number): Kept {
  const numbers = new Map<number, number>()
  const parts: Uint8Array[] = []
  let copied = 0
  for (let at = 0; at < record.length;) {
    const field = fieldAt(record, at)
    if (!field || field.to > record.length) throw new RangeError('protobuf message is cut off')
    if (field.type === 0) numbers.set(field.number, field.value)
    else if (field.number === fields.description && field.to - field.from > longest) {
      parts.push(record.subarray(copied, at), cut(record.subarray(field.from, field.to), longest))
      copied = field.to
    }
    at = field.to
  }
  const size = numbers.get(fields.size) ?? 0
  return {
    record: copied === 0 ? record : Buffer.concat([...parts, record.subarray(copied)]),
    ...{ node, inUse: numbers.get(fields.inUse) === 1, shared: numbers.get(fields.shared) === 1 },
    // Beyond that it is a negative one.
    size: size < 2 ** 63 ? size : 0,
  }
}

/** The beginning of a description in whole characters, as a field; nothing of one that is not wanted. */
function cut(description: Buffer, longest: number): Uint8Array {
  let end = longest
  while (end > 0 && ((description[end] as number) & 0xc0) === 0x80) end--
  return end === 0 ? Buffer.alloc(0) : fieldOf(fields.description, `${description.toString('utf8', 0, end)}…`)
}

const sayRest = ({ node, size, inUse, shared, records }: Rest) => ({
  id: `[insitu] node ${node}: ${records} smaller records`,
  description: 'together: one by one they would be more than clients accept',
  ...{ size: BigInt(size), inUse, shared },
})

/** Clients show records and nothing else of an answer that is a success. */
const sayMissing = ({ node, reason }: Missing) => ({ id: `[insitu] node ${node} is missing`, description: reason })

const said = (records: readonly Partial<Omit<UsageRecord, '$typeName' | '$unknown'>>[]): Uint8Array =>
  toBinary(DiskUsageResponseSchema, create(DiskUsageResponseSchema, { record: [...records] }))
