import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { expect, test } from 'vitest'
import { decodeBounded } from './decode.ts'
import { BuildHistoryEventSchema } from './gen/control_pb.ts'
import { factsOfSolve } from './request-facts.ts'
import { sessionsOfSolve } from './named-sessions.ts'
import { readLlb } from './llb.ts'
import { withProxyEnv } from './llb-proxy.ts'
import { decodeBridgeSolve, decodeSolve } from './solve.ts'
import { fieldOf } from '../kernel/grpc/wire.ts'

const tooMany = expect.objectContaining({ code: 'MESSAGE_FIELDS', status: 'RESOURCE_EXHAUSTED' })
const filled = (hex: string, bytes = 2 << 20): Buffer => Buffer.alloc(bytes, hex, 'hex')

/** A graph as clients write it: each operation with an input, a command, its platform and its metadata. */
function graph(operations: number): Buffer {
  const fields = (...parts: Parameters<typeof fieldOf>[]): Uint8Array =>
    Buffer.concat(parts.map(([number, value]) => fieldOf(number, value)))
  const digest = `sha256:${'0'.repeat(64)}`
  const meta = fields([1, '/bin/sh'], [1, '-c'], [1, 'make'])
  const platform = fields([1, 'amd64'], [2, 'linux'])
  const op = fields([1, fields([1, digest])], [2, fields([1, meta])], [10, platform])
  const metadata = fields([2, fields([1, 'llb.customname'], [2, 'make'])], [5, fields([1, 'exec.meta.base'], [2, 1])])
  const one = Buffer.from(fields([1, op], [2, fields([1, digest], [2, metadata])]))
  const all = Buffer.alloc(operations * one.length, one)
  const key = one.lastIndexOf('sha256:') + 'sha256:'.length
  for (let i = 0; i < operations; i++) all.write(i.toString(16).padStart(64, '0'), i * one.length + key)
  return all
}

test.each([
  ['of a Solve', decodeSolve, filled('6a00')],
  ['of a Solve, none known', decodeSolve, filled('a00601', 3 << 20)],
  ['of a definition in a Solve', decodeSolve, Buffer.from(fieldOf(2, filled('0a00')))],
  ['of a map in a Solve', decodeSolve, filled('4200')],
  ['of LLBBridge/Solve', decodeBridgeSolve, filled('6200')],
  ['of operations', (op: Buffer) => readLlb([[op]]), filled('7801')],
  ['of many operations', (op: Buffer) => readLlb([Array.from({ length: 256 }, () => op)]), filled('7801', 8 << 10)],
])('more fields than a message may have are refused before they are objects: %s', (_, decode, message) => {
  expect(() => decode(message)).toThrow(tooMany)
})

test('the operations of a graph that gets a proxy have one limit', () => {
  const inputs = Array.from({ length: 256 }, (_, i) => Buffer.concat([fieldOf(20, i), filled('0a00', 8 << 10)]))
  const definition = { $typeName: 'insitu.buildkit.ops.Definition', def: inputs, metadata: {} } as const
  expect(() => withProxyEnv(definition, { HTTP_PROXY: 'http://p' })).toThrow(tooMany)
})

test('a graph of 100,000 operations passes', () => {
  const request = decodeSolve(Buffer.concat([fieldOf(1, 'ref'), fieldOf(2, graph(100_000))]))
  expect(request.definition?.def).toHaveLength(100_000)
  expect(Object.keys(request.definition?.metadata ?? {})).toHaveLength(100_000)
  expect(factsOfSolve(request).platforms).toEqual(['linux/amd64'])
  expect(sessionsOfSolve(request)).toEqual([])
})

test('a field of another type than it should have hides none behind it', () => {
  // To whom goes by the type, the first field (Ref, a text) is the number 2, and the next one a text of all that follows.
  const hidden = filled('6a00')
  const cover = Buffer.from(fieldOf(1, hidden)).subarray(0, -hidden.length)
  const message = Buffer.concat([Buffer.from('08', 'hex'), Buffer.from([cover.length]), cover, hidden])
  expect(() => decodeSolve(message)).toThrow(tooMany)
})

test('messages are decoded as without a limit', () => {
  const event = create(BuildHistoryEventSchema, {
    record: { ref: 'r', frontendAttrs: { a: 'b' }, createdAt: { seconds: 5n, nanos: 7 }, results: { a: {} } },
  })
  const bytes = toBinary(BuildHistoryEventSchema, event)
  expect(decodeBounded(BuildHistoryEventSchema, bytes)).toEqual(fromBinary(BuildHistoryEventSchema, bytes))
  for (const broken of [bytes.subarray(0, -1), Buffer.from('7b7c', 'hex'), Buffer.from('00', 'hex')]) {
    expect(() => decodeBounded(BuildHistoryEventSchema, broken)).toThrow(/./)
  }
})
