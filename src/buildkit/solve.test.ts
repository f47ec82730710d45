import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { expect, test } from 'vitest'
import { SolveRequestSchema } from './gen/control_pb.ts'
import { SolveRequestSchema as BridgeSolveSchema } from './gen/gateway_pb.ts'
import {
  checkImageNames,
  decodeBridgeSolve,
  decodeSolve,
  rewriteBridgeSolve,
  rewriteSolve,
  solveFacts,
  solveHints,
} from './solve.ts'

const nothing = { defaults: false, proxy: {} }
const everything = { defaults: true, proxy: { HTTP_PROXY: 'http://p' } }

const request = (init: Parameters<typeof create<typeof SolveRequestSchema>>[1]) => create(SolveRequestSchema, init)

test('a request without anything of ours is left as it is', () => {
  const plain = request({
    ref: 'r',
    frontendAttrs: { target: 'x' },
    exporters: [{ type: 'image', attrs: { name: 'a' } }],
  })
  expect(rewriteSolve(plain, nothing)).toBeUndefined()
})

test('hints are taken out of options and of every kind of exporter field', () => {
  const solve = request({
    frontendAttrs: { 'build-arg:insitu.node': 'a', target: 'x' },
    exporters: [{ type: 'image', attrs: { 'insitu.for': 'deploy/web', name: 'n' } }],
    exporterDeprecated: 'image',
    exporterAttrsDeprecated: { 'insitu.for': 'deploy/web', name: 'n' },
  })
  expect(solveHints(solve)).toEqual({ node: 'a', for: 'deploy/web' })
  const sent = fromBinary(SolveRequestSchema, rewriteSolve(solve, nothing) ?? new Uint8Array())
  expect(sent.frontendAttrs).toEqual({ target: 'x' })
  expect(sent.exporters[0]?.attrs).toEqual({ name: 'n' })
  expect(sent.exporterAttrsDeprecated).toEqual({ name: 'n' })
})

test('defaults are filled in where the client says nothing', () => {
  const solve = request({
    frontend: 'dockerfile.v0',
    exporters: [
      { type: 'image', attrs: { name: 'app,team/b:1' } },
      { type: 'local', attrs: {} },
    ],
  })
  const sent = fromBinary(SolveRequestSchema, rewriteSolve(solve, everything) ?? new Uint8Array())
  expect(sent.frontendAttrs).toEqual({
    'image-resolve-mode': 'local',
    'build-arg:Http_Proxy': 'http://p',
  })
  expect(sent.exporters.map((e) => e.attrs)).toEqual([
    { name: 'docker.io/library/app:latest,docker.io/team/b:1', unpack: 'true', compression: 'uncompressed' },
    {},
  ])
})

test('a client that runs the frontend itself gets the proxy in LLBBridge/Solve, and the history does not', () => {
  const solve = rewriteSolve(request({ frontendAttrs: { target: 'x' } }), { ...everything, defaults: false })
  expect(solve).toBeUndefined()
  const bridge = create(BridgeSolveSchema, { frontend: 'dockerfile.v0' })
  const sent = decodeBridgeSolve(rewriteBridgeSolve(bridge, everything))
  expect(sent.frontendOpt).toMatchObject({ 'build-arg:Http_Proxy': 'http://p', 'image-resolve-mode': 'local' })
})

test.for([
  { said: { push: 'true' }, gets: { unpack: 'true' } },
  { said: { push: '' }, gets: { unpack: 'true' } },
  { said: { push: 'false' }, gets: { unpack: 'true', compression: 'uncompressed' } },
  { said: { unpack: 'false' }, gets: { compression: 'uncompressed' } },
  { said: { compression: 'zstd' }, gets: { unpack: 'true' } },
  { said: { 'rewrite-timestamp': 'true' }, gets: { compression: 'uncompressed' } },
  { said: { name: '*' }, gets: { unpack: 'true', compression: 'uncompressed' } },
])('$said of the client is kept', ({ said, gets }) => {
  const solve = request({ exporters: [{ type: 'image', attrs: said }] })
  const sent = fromBinary(SolveRequestSchema, rewriteSolve(solve, { defaults: true, proxy: {} }) ?? new Uint8Array())
  expect(sent.exporters[0]?.attrs).toEqual({ ...said, ...gets })
})

test('the resolve mode of the client is kept', () => {
  const solve = request({ frontendAttrs: { 'image-resolve-mode': 'pull' } })
  expect(rewriteSolve(solve, { defaults: true, proxy: {} })).toBeUndefined()
})

test('an image that no kubelet could name is refused where defaults are on', () => {
  const solve = request({ exporters: [{ type: 'image', attrs: { name: 'Wrong' } }] })
  expect(() => checkImageNames(solve)).toThrow('"Wrong" is not an image name')
  expect(solveFacts(solve).images).toEqual([])
})

test('the facts name images, platforms and the sessions, the shared ones first', () => {
  const facts = solveFacts(
    request({
      ref: 'r',
      session: 'own',
      frontendAttrs: { platform: 'linux/amd64,linux/arm64', 'local-sessionid:context': 'shared' },
      exporters: [
        { type: 'image', attrs: { name: 'app:1,app:2' } },
        { type: 'image', attrs: { name: 'unstored', store: 'false' } },
        { type: 'oci', attrs: { name: 'elsewhere' } },
      ],
      exporterDeprecated: 'image',
      exporterAttrsDeprecated: { name: 'ignored' },
    }),
  )
  expect(facts).toEqual({
    ref: 'r',
    sessions: ['shared', 'own'],
    images: ['docker.io/library/app:1', 'docker.io/library/app:2'],
    platforms: ['linux/amd64', 'linux/arm64'],
    cacheKey: 'docker.io/library/app',
    stays: true,
    exports: true,
    probe: false,
  })
})

test('the fields of old clients count when there is no list', () => {
  const old = request({ exporterDeprecated: 'image', exporterAttrsDeprecated: { name: 'old' } })
  expect(solveFacts(old).images).toEqual(['docker.io/library/old:latest'])
})

test("buildx's question to the daemon is not a build", () => {
  expect(solveFacts(request({ internal: true })).probe).toBe(true)
  expect(solveFacts(request({ internal: true, frontend: 'dockerfile.v0' })).probe).toBe(false)
  expect(solveFacts(request({})).probe).toBe(false)
  const op = Uint8Array.of(0)
  expect(solveFacts(request({ internal: true, definition: { def: [op] } })).probe).toBe(false)
  expect(solveFacts(request({ internal: true, definition: { def: [] } })).probe).toBe(true)
  expect(solveFacts(request({ internal: true, cache: { exports: [{ type: 'registry' }] } })).probe).toBe(false)
  expect(solveFacts(request({ internal: true, cache: { exportRefDeprecated: 'x' } })).probe).toBe(false)
})

test('garbage is refused', () => {
  expect(() => decodeSolve(Uint8Array.of(0xff, 0xff, 0xff))).toThrow('cannot be read')
})

test('LLBBridge options are rewritten only where a frontend will read them', () => {
  const options = { 'insitu.node': 'a', target: 't' }
  const asked = (frontend: string) => create(BridgeSolveSchema, { frontend, frontendOpt: options })
  const sent = rewriteBridgeSolve(asked('dockerfile.v0'), nothing)
  expect(decodeBridgeSolve(sent).frontendOpt).toEqual({ target: 't' })
  expect(decodeBridgeSolve(rewriteBridgeSolve(asked(''), everything)).frontendOpt).toEqual(options)
})

// Fields of a future BuildKit, and of this one that our definition leaves out.
test('unknown fields survive rewriting, at every level, whatever their type and size', () => {
  let seed = 42
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fff_ffff
    return seed % below
  }
  const varint = (n: number): number[] => (n < 128 ? [n] : [(n & 127) | 128, ...varint(Math.floor(n / 128))])
  const unknown = (): number[] => {
    const number = 100 + random(5000)
    switch (random(4)) {
      case 0:
        return [...varint(number * 8), ...varint(random(1 << 30))]
      case 1:
        return [...varint(number * 8 + 1), ...Array.from({ length: 8 }, () => random(256))]
      case 2: {
        const length = random(300)
        return [...varint(number * 8 + 2), ...varint(length), ...Array.from({ length }, () => random(256))]
      }
      default:
        return [...varint(number * 8 + 5), ...Array.from({ length: 4 }, () => random(256))]
    }
  }
  for (let round = 0; round < 200; round++) {
    const exporterExtra = unknown()
    const extras = Array.from({ length: 1 + random(5) }, unknown)
    const exporter = [0x0a, 5, ...Buffer.from('image'), ...exporterExtra]
    const message = Uint8Array.from([
      ...toBinary(SolveRequestSchema, request({ ref: `r${round}`, frontendAttrs: { 'insitu.node': 'a' } })),
      ...[0x6a, ...varint(exporter.length), ...exporter],
      ...extras.flat(),
    ])
    const sent = Buffer.from(rewriteSolve(decodeSolve(message), everything) ?? new Uint8Array())
    for (const extra of [...extras, exporterExtra]) expect(sent.includes(Buffer.from(extra))).toBe(true)
    expect(sent.includes('insitu.node')).toBe(false)
  }
})
