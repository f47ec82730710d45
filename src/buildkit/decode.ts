import { type DescField, type DescMessage, fromBinary, type MessageShape, ScalarType } from '@bufbuild/protobuf'
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire'
import { countField, type FieldBudget, fieldBudget } from './field-budget.ts'

/**
 * Decodes a message that somebody else has written. Its fields are counted before objects are made of them.
 * @param budget for messages that belong together. Default: one for this message.
 * @throws InsituError MESSAGE_FIELDS (RESOURCE_EXHAUSTED); Error for what cannot be read.
 */
export function decodeBounded<Schema extends DescMessage>(
  schema: Schema,
  bytes: Uint8Array,
  budget: FieldBudget = fieldBudget(),
): MessageShape<Schema> {
  countFields(new BinaryReader(bytes), bytes.length, shapeOf(schema), budget)
  return fromBinary(schema, bytes)
}

/** How a known field is read: `fromBinary` goes by its schema, whatever type the wire says. */
interface Field {
  readonly type: WireType.Varint | WireType.Bit32 | WireType.Bit64 | WireType.LengthDelimited
  /** A list of numbers may come in one piece. */
  readonly packable: boolean
  /** Of a message or of an entry of a map. */
  readonly inner?: Shape | undefined
}

type Shape = ReadonlyMap<number, Field>

const shapes = new WeakMap<DescMessage, Shape>()

function shapeOf(schema: DescMessage): Shape {
  const known = shapes.get(schema)
  if (known) return known
  const shape = new Map<number, Field>()
  // Before its fields are looked at: a message may hold messages of its own kind.
  shapes.set(schema, shape)
  for (const field of schema.fields) shape.set(field.number, fieldOf(field))
  return shape
}

function fieldOf(field: DescField): Field {
  const delimited = { type: WireType.LengthDelimited, packable: false } as const
  switch (field.fieldKind) {
    case 'message':
      return { ...delimited, inner: shapeOf(field.message) }
    case 'map':
      return {
        ...delimited,
        inner: new Map([
          [1, scalar(field.mapKey)],
          [2, field.message ? { ...delimited, inner: shapeOf(field.message) } : scalar(field.scalar)],
        ]),
      }
    case 'list':
      return field.message ? { ...delimited, inner: shapeOf(field.message) } : listed(scalar(field.scalar))
    case 'scalar':
    case 'enum':
      return scalar(field.scalar)
  }
}

const listed = (field: Field): Field => ({ ...field, packable: field.type !== WireType.LengthDelimited })

const delimitedTypes = new Set<ScalarType | undefined>([ScalarType.STRING, ScalarType.BYTES])
const wideTypes = new Set<ScalarType | undefined>([ScalarType.FIXED64, ScalarType.SFIXED64, ScalarType.DOUBLE])
const fixedTypes = new Set<ScalarType | undefined>([ScalarType.FIXED32, ScalarType.SFIXED32, ScalarType.FLOAT])

/** @param type undefined for an enum. */
function scalar(type: ScalarType | undefined): Field {
  if (delimitedTypes.has(type)) return { type: WireType.LengthDelimited, packable: false }
  if (wideTypes.has(type)) return { type: WireType.Bit64, packable: false }
  return { type: fixedTypes.has(type) ? WireType.Bit32 : WireType.Varint, packable: false }
}

/**
 * Goes over the same fields as `fromBinary`, which makes objects of them. It must take every step as that does, or refuse
 * what is there: else a message could show few fields here, and many there.
 */
function countFields(reader: BinaryReader, end: number, shape: Shape, budget: FieldBudget): void {
  while (reader.pos < end) {
    const [number, type] = reader.tag()
    countField(budget)
    const field = shape.get(number)
    if (field?.inner) countFields(reader, reader.uint32() + reader.pos, field.inner, budget)
    else if (!field) pass(reader, type)
    else if (field.packable && type === WireType.LengthDelimited) countPacked(reader, field.type, budget)
    else pass(reader, field.type)
  }
}

function countPacked(reader: BinaryReader, type: WireType, budget: FieldBudget): void {
  const end = reader.uint32() + reader.pos
  while (reader.pos < end) {
    countField(budget)
    pass(reader, type)
  }
}

function pass(reader: BinaryReader, type: WireType): void {
  if (type === WireType.Varint || type === WireType.LengthDelimited) {
    const value = reader.uint32()
    if (type === WireType.LengthDelimited) reader.pos += value
  } else if (type === WireType.Bit64) reader.pos += 8
  else if (type === WireType.Bit32) reader.pos += 4
  // Groups are no part of proto3.
  else throw new RangeError('the message has a group')
  if (reader.pos > reader.len) throw new RangeError('the message is cut off')
}
