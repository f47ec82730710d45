import { InsituError } from '../kernel/errors.ts'
import { fieldOf, readFields } from '../kernel/grpc/wire.ts'

/** What raw LLB says that a policy has an opinion on. */
export interface LlbFacts {
  /** `linux/arm/v7`, each once; operations without a platform are left out. */
  readonly platforms: readonly string[]
  /** Groups that exec operations want to be put in. */
  readonly cgroupParents: readonly string[]
  /** There is a build operation: it runs LLB that is made during the build, which nobody can look at before. */
  readonly nested: boolean
}

/** Field numbers of BuildKit v0.33.1, solver/pb/ops.proto. */
const op = { exec: 2, source: 3, build: 5, platform: 10 } as const
const sourceAttrs = 2
const execMeta = 1
const metaCgroupParent = 10
const platform = { architecture: 1, os: 2, variant: 3 } as const

/** Protobuf's greatest field number. Go keeps 32 bits of a tag, so that 2^32 + 2 would be field 2 to the daemon. */
const greatestField = 2 ** 29 - 1

/**
 * Reads marshalled operations. A field that occurs twice counts twice: the daemon merges them, so the worst counts.
 * @throws InsituError LLB_MALFORMED for what two decoders could read differently.
 */
export function readLlb(definitions: readonly (readonly Uint8Array[])[]): LlbFacts {
  const platforms = new Set<string>()
  const cgroupParents = new Set<string>()
  let nested = false
  for (const operation of definitions.flat()) {
    for (const [number, value] of fields(operation)) {
      if (number === op.build) nested = true
      if (typeof value === 'bigint') continue
      if (number === op.platform) platforms.add(platformText(value))
      if (number !== op.exec) continue
      for (const meta of all(value, execMeta)) {
        for (const parent of all(meta, metaCgroupParent)) if (parent.length > 0) cgroupParents.add(decode(parent))
      }
    }
  }
  return { platforms: [...platforms], cgroupParents: [...cgroupParents], nested }
}

/** Whether an operation runs a program, or operations that nobody sees before. @throws InsituError LLB_MALFORMED */
export const runsPrograms = (operations: readonly Uint8Array[]): boolean =>
  operations.some((operation) => fields(operation).some(([number]) => number === op.exec || number === op.build))

/**
 * Attributes of sources, name and value. One that is there twice is there twice here.
 * @throws InsituError LLB_MALFORMED for what two decoders could read differently.
 */
export const readSourceAttrs = (definitions: readonly (readonly Uint8Array[])[]): (readonly [string, string])[] =>
  definitions
    .flat()
    .flatMap((operation) => all(operation, op.source))
    .flatMap((source) => all(source, sourceAttrs))
    .map(readEntry)

/** An entry of a map. Daemons do not look at the types of its two fields: any but the right ones is ambiguous. */
function readEntry(entry: Uint8Array): readonly [string, string] {
  const parts = fields(entry).flatMap(([number, value]) => (typeof value === 'bigint' ? [] : [{ number, value }]))
  const again = Buffer.concat(parts.map(({ number, value }) => fieldOf(number, value)))
  if (!again.equals(entry)) throw malformed(new RangeError('a map entry is not as it is usually written'))
  const last = (wanted: number): string => decode(parts.findLast(({ number }) => number === wanted)?.value ?? nothing)
  return [last(1), last(2)]
}

const nothing = new Uint8Array()

function platformText(message: Uint8Array): string {
  const last = (number: number): string => {
    const found = all(message, number).at(-1)
    return found === undefined ? '' : decode(found)
  }
  const parts = [last(platform.os), last(platform.architecture), last(platform.variant)]
  return parts.filter((part) => part !== '').join('/')
}

const decode = (bytes: Uint8Array): string => Buffer.from(bytes).toString('utf8')

const all = (message: Uint8Array, wanted: number): Uint8Array[] =>
  fields(message).flatMap(([number, value]) => (number === wanted && typeof value !== 'bigint' ? [value] : []))

function fields(message: Uint8Array): (readonly [number, bigint | Uint8Array])[] {
  const result: (readonly [number, bigint | Uint8Array])[] = []
  try {
    for (const { number, value } of readFields(message)) {
      if (number < 1 || number > greatestField) throw new RangeError(`there is no field ${number}`)
      result.push([number, value])
    }
  } catch (cause) {
    throw malformed(cause)
  }
  return result
}

const malformed = (cause: unknown): InsituError =>
  new InsituError('LLB_MALFORMED', 'the build has an operation that cannot be read', {
    status: 'INVALID_ARGUMENT',
    cause,
  })
