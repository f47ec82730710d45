import { createHash } from 'node:crypto'
import { create, equals, fromBinary, type Message, type MessageInitShape, toBinary } from '@bufbuild/protobuf'
import { WireType } from '@bufbuild/protobuf/wire'
import { expect, test } from 'vitest'
import { fieldOf } from '../kernel/grpc/wire.ts'
import { type Definition, DefinitionSchema, LocationsSchema, OpMetadataSchema, OpSchema } from './gen/ops_pb.ts'
import { withProxyEnv } from './llb-proxy.ts'

const proxy = { HTTP_PROXY: 'http://upper', http_proxy: 'http://p', NO_PROXY: '.svc' }
const digestOf = (bytes: Uint8Array): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`
const op = (init: MessageInitShape<typeof OpSchema>): Uint8Array => toBinary(OpSchema, create(OpSchema, init))
const exec = (meta: object, inputs: Uint8Array[] = []): Uint8Array =>
  op({ inputs: inputs.map((bytes) => ({ digest: digestOf(bytes) })), op: { case: 'exec', value: { meta } } })
const graph = (...def: Uint8Array[]): Definition => create(DefinitionSchema, { def })
const read = (definition: Definition, at: number) => fromBinary(OpSchema, definition.def[at] ?? new Uint8Array())
const proxyOf = (definition: Definition, at: number) => {
  const { op: value } = read(definition, at)
  if (value.case !== 'exec' || !value.value.meta?.proxyEnv) return undefined
  const { $typeName: _, ...variables } = value.value.meta.proxyEnv
  return Object.fromEntries(Object.entries(variables).filter(([, v]) => v !== ''))
}

test('a step gets the variables, and what uses it follows its new digest', () => {
  const step = exec({ env: ['PATH=/bin'] })
  const result = op({ inputs: [{ digest: digestOf(step) }] })
  const sent = withProxyEnv(graph(step, result), proxy)
  expect(proxyOf(sent, 0)).toEqual({ httpProxy: 'http://p', noProxy: '.svc' })
  expect(read(sent, 1).inputs[0]?.digest).toBe(digestOf(sent.def[0] ?? new Uint8Array()))
})

test.for([
  { name: 'no variables', definition: graph(exec({})), variables: { HTTP_PROXY: '' } },
  { name: 'no steps', definition: graph(op({}), op({ inputs: [{ digest: digestOf(op({})) }] })), variables: proxy },
  { name: 'variables of the step', definition: graph(exec({ env: ['http_proxy=', 'no_proxy=x'] })), variables: proxy },
  {
    name: 'proxies of the step',
    definition: graph(exec({ proxyEnv: { httpProxy: 'a', noProxy: 'b' } })),
    variables: proxy,
  },
])('$name: the definition itself', ({ definition, variables }) => {
  expect(withProxyEnv(definition, variables)).toBe(definition)
})

test('variable by variable, what the step says wins', () => {
  expect(proxyOf(withProxyEnv(graph(exec({ proxyEnv: { httpProxy: 'mine' } })), proxy), 0)).toEqual({
    httpProxy: 'mine',
    noProxy: '.svc',
  })
})

test('a build within a build gets them too, and a tower of builds is refused', () => {
  const within = (inner: Definition): Definition => graph(op({ op: { case: 'build', value: { def: inner } } }))
  const sent = read(withProxyEnv(within(graph(exec({}))), proxy), 0)
  expect(sent.op.case === 'build' && sent.op.value.def && proxyOf(sent.op.value.def, 0)).toMatchObject({
    httpProxy: 'http://p',
  })
  let tower = graph(exec({}))
  for (let i = 0; i < 20; i++) tower = within(tower)
  expect(() => withProxyEnv(tower, proxy)).toThrow('nests builds')
})

test('garbage is refused', () => {
  expect(() => withProxyEnv(graph(Uint8Array.of(0xff)), proxy)).toThrow('cannot be read')
})

// Whatever the graph, its order, its unknown fields: taking the variables out again gives the graph as it was.
test('for any graph only proxy_env differs', () => {
  let seed = 7
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fff_ffff
    return (seed >> 8) % below
  }
  for (let round = 0; round < 300; round++) {
    const def: Uint8Array[] = []
    for (let n = 1 + random(12); n > 0; n--) {
      const inputs = Array.from({ length: random(Math.min(4, def.length + 1)) }, () => ({
        digest: digestOf(def[random(def.length)] ?? new Uint8Array()),
      }))
      const known =
        random(2) === 0
          ? op({ inputs })
          : op({ inputs, op: { case: 'exec', value: { meta: { env: random(3) === 0 ? ['HTTP_PROXY=x'] : [] } } } })
      // A field we do not know makes the op unlike every other.
      def.push(Buffer.concat([known, fieldOf(90 + random(9), `unknown ${def.length}`)]))
    }
    const order = def.toSorted(() => random(3) - 1)
    const before = create(DefinitionSchema, {
      def: order,
      metadata: Object.fromEntries(def.map((bytes, i) => [digestOf(bytes), withUnknown(create(OpMetadataSchema), i)])),
      source: { locations: { [digestOf(def[0] ?? new Uint8Array())]: withUnknown(create(LocationsSchema), 99) } },
    })
    const after = withProxyEnv(before, proxy)
    expect(equals(DefinitionSchema, undo(before, after), before)).toBe(true)
  }
})

function withUnknown<T extends Message>(message: T, n: number): T {
  message.$unknown = [{ no: 2, wireType: WireType.Varint, data: Uint8Array.of(n) }]
  return message
}

/** Takes the variables out of every step, in the order of the original, and moves digests back. */
function undo(before: Definition, after: Definition): Definition {
  const names = new Map(after.def.map((bytes, i) => [digestOf(bytes), digestOf(before.def[i] ?? new Uint8Array())]))
  const name = (digest: string): string => names.get(digest) ?? `unknown ${digest}`
  const back = <T>(entries: Record<string, T>): Record<string, T> =>
    Object.fromEntries(Object.entries(entries).map(([digest, value]) => [name(digest), value]))
  const def = after.def.map((bytes) => {
    const changed = fromBinary(OpSchema, bytes)
    for (const input of changed.inputs) input.digest = name(input.digest)
    if (changed.op.case === 'exec' && changed.op.value.meta) delete changed.op.value.meta.proxyEnv
    return toBinary(OpSchema, changed)
  })
  const source = after.source && { ...after.source, locations: back(after.source.locations) }
  return create(DefinitionSchema, { ...after, def, metadata: back(after.metadata), ...(source ? { source } : {}) })
}
