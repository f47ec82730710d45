import { create } from '@bufbuild/protobuf'
import { expect, test } from 'vitest'
import { fieldOf } from '../kernel/grpc/wire.ts'
import { SolveRequestSchema } from './gen/control_pb.ts'
import { SolveRequestSchema as BridgeSolveSchema } from './gen/gateway_pb.ts'
import { sessionsOfBridgeSolve, sessionsOfSolve } from './named-sessions.ts'

const entry = (...fields: readonly Uint8Array[]): Uint8Array => fieldOf(2, Buffer.concat(fields))
const source = (...entries: readonly Uint8Array[]): { def: Uint8Array[] } => ({
  def: [fieldOf(3, Buffer.concat([fieldOf(1, 'local://context'), ...entries]))],
})
const local = (id: string): Uint8Array => entry(fieldOf(1, 'local.session'), fieldOf(2, id))

test('every place of a Solve where a session can be named counts', () => {
  const request = create(SolveRequestSchema, {
    session: 'own',
    sourcePolicySession: 'policy',
    frontendAttrs: { 'local-sessionid:context': 'option', 'context:x': 'no' },
    definition: source(local('graph'), entry(fieldOf(1, 'local.unique'), fieldOf(2, 'no'))),
    frontendInputs: { x: source(entry(fieldOf(1, 'oci.session'), fieldOf(2, 'input'))) },
    sourcePolicy: { rules: [{ updates: { attrs: { 'local.session': 'rule', 'oci.store': 'no' } } }] },
  })
  expect(sessionsOfSolve(request)).toEqual(['own', 'policy', 'option', 'graph', 'input', 'rule'])
})

test('of an attribute that is there twice both values count', () => {
  const request = create(BridgeSolveSchema, { definition: source(local('one'), local('two')) })
  expect(sessionsOfBridgeSolve(request)).toEqual(['one', 'two'])
})

// BuildKit's decoder takes the fields of a map entry for texts whatever their types say.
test.each([
  ['a number', Uint8Array.of(0x10, 8)],
  ['eight bytes', Uint8Array.of(0x11, 8)],
])('an attribute that has the type of %s is refused', (_, tag) => {
  const hidden = entry(fieldOf(1, 'local.session'), tag, Buffer.from('abababab'))
  const request = create(BridgeSolveSchema, { definition: source(hidden) })
  expect(() => sessionsOfBridgeSolve(request)).toThrow('cannot be read')
})
