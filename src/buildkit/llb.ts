import { InsituError } from '../kernel/errors.ts'
import { fieldOf, readFields, type WireField } from '../kernel/grpc/wire.ts'
import { countField, type FieldBudget, fieldBudget } from './field-budget.ts'

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
 * @throws InsituError LLB_MALFORMED for what two decoders could read differently; MESSAGE_FIELDS.
 */
export function readLlb(definitions: readonly (readonly Uint8Array[])[]): LlbFacts {
  const platforms = new Set<string>()
  const cgroupParents = new Set<string>()
  let nested = false
  const budget = fieldBudget()
  for (const operation of definitions.flat()) {
    for (const [number, value] of fields(operation, budget)) {
      if (number === op.build) nested = true
      if (typeof value === 'bigint') continue
      if (number === op.platform) platforms.add(platformText(value, budget))
      if (number !== op.exec) continue
      for (const meta of all(value, execMeta, budget)) {
        for (const parent of all(meta, metaCgroupParent, budget))
          if (parent.length > 0) cgroupParents.add(decode(parent))
      }
    }
  }
  return { platforms: [...platforms], cgroupParents: [...cgroupParents], nested }
}

/** Whether an operation runs a program, or operations that nobody sees before. @throws InsituError LLB_MALFORMED, MESSAGE_FIELDS */
export function runsPrograms(operations: readonly Uint8Array[]): boolean {
  const budget = fieldBudget()
  for (const operation of operations) {
    for (const [number] of fields(operation, budget)) if (number === op.exec || number === op.build) return true
  }
  return false
}

/**
 * Attributes of sources, name and value. One that is there twice is there twice here.
 * @throws InsituError LLB_MALFORMED for what two decoders could read differently; MESSAGE_FIELDS.
 */
export function readSourceAttrs(definitions: readonly (readonly Uint8Array[])[]): (readonly [string, string])[] {
  const budget = fieldBudget()
  return definitions
    .flat()
    .flatMap((operation) => all(operation, op.source, budget))
    .flatMap((source) => all(source, sourceAttrs, budget))
    .map((entry) => readEntry(entry, budget))
}

/** An entry of a map. Daemons do not look at the types of its two fields: any but the right ones is ambiguous. */
function readEntry(entry: Uint8Array, budget: FieldBudget): readonly [string, string] {
  const parts = [...fields(entry, budget)].flatMap(([number, value]) =>
    typeof value === 'bigint' ? [] : [{ number, value }],
  )
  const again = Buffer.concat(parts.map(({ number, value }) => fieldOf(number, value)))
  if (!again.equals(entry)) throw malformed(new RangeError('a map entry is not as it is usually written'))
  const last = (wanted: number): string => decode(parts.findLast(({ number }) => number === wanted)?.value ?? nothing)
  return [last(1), last(2)]
}

const nothing = new Uint8Array()

function platformText(message: Uint8Array, budget: FieldBudget): string {
  const last = new Map<number, Uint8Array>()
  for (const [number, value] of fields(message, budget)) if (typeof value !== 'bigint') last.set(number, value)
  const parts = [platform.os, platform.architecture, platform.variant].map((number) => last.get(number) ?? nothing)
  return parts.flatMap((part) => (part.length === 0 ? [] : [decode(part)])).join('/')
}

const decode = (bytes: Uint8Array): string => Buffer.from(bytes).toString('utf8')

function all(message: Uint8Array, wanted: number, budget: FieldBudget): Uint8Array[] {
  const found: Uint8Array[] = []
  for (const [number, value] of fields(message, budget)) {
    if (number === wanted && typeof value !== 'bigint') found.push(value)
  }
  return found
}

/** One at a time, for who counts them before he keeps any. */
function* fields(message: Uint8Array, budget: FieldBudget): Generator<readonly [number, bigint | Uint8Array]> {
  const read = readFields(message)
  for (;;) {
    const next = nextOf(read)
    if (next.done) return
    countField(budget)
    yield [next.value.number, next.value.value]
  }
}

function nextOf(read: Iterator<WireField, void>): IteratorResult<WireField, void> {
  try {
    const next = read.next()
    const number = next.value?.number ?? 1
    if (number < 1 || number > greatestField) throw new RangeError(`there is no field ${number}`)
    return next
  } catch (cause) {
    throw malformed(cause)
  }
}

const malformed = (cause: unknown): InsituError =>
  new InsituError('LLB_MALFORMED', 'the build has an operation that cannot be read', {
    status: 'INVALID_ARGUMENT',
    cause,
  })
