import { EventEmitter } from 'node:events'
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { describe, expect, test } from 'vitest'
import { SolveRequestSchema, StatusResponseSchema } from '../../buildkit/gen/control_pb.ts'
import { frame } from '../../kernel/grpc/framing.ts'
import type { Http2Stream } from '../http2/stream.ts'
import { readChallenge } from '../../kernel/http/challenge.ts'
import { partAttributes, splitOutput } from './output.ts'
import { relabel } from './status.ts'
import { tunnel } from './tunnel.ts'
import { readPlatforms } from './wishes.ts'
import { looseStream } from '../../../test/unit/loose-stream.ts'

test.each([
  ['Bearer realm="https://auth.test/token",service="reg",scope="repository:a:pull"', 'https://auth.test/token'],
  ['Basic realm="x", Bearer realm="https://t.test"', 'https://t.test'],
  ['bearer service=reg, realm=https://t.test', 'https://t.test'],
])('%s asks for a token', (header, realm) => {
  expect(readChallenge(header)).toMatchObject({ scheme: 'bearer', realm })
})

test('other challenges', () => {
  expect(readChallenge('Basic realm="x"')).toEqual({ scheme: 'basic' })
  for (const header of [undefined, 'Digest realm="x"', 'Bearer service="no realm"']) {
    expect(readChallenge(header)).toBeUndefined()
  }
})

test('a header of the size that Node takes costs nothing', () => {
  const started = performance.now()
  readChallenge(`Bearer ${'a'.repeat(16_000)}`)
  expect(performance.now() - started).toBeLessThan(100)
})

const outputOf = (type: string, attrs: Record<string, string> = {}, more = {}) =>
  splitOutput(create(SolveRequestSchema, { exporters: [{ type, attrs }], ...more }), ['linux/amd64', 'linux/arm64'])

test.each([
  ['oci', {}, {}, 'one stream'],
  ['docker', {}, {}, 'one stream'],
  ['image', { name: '*' }, {}, 'chooses the name'],
  ['image', { name: 'a', 'annotation-index.x': 'y' }, {}, 'annotates the index'],
  ['image', { name: 'a', 'annotation-manifest-descriptor[linux/arm64].x': 'y' }, {}, 'annotates the index'],
  ['image', { name: 'a', 'annotation[linux/s390x].x': 'y' }, {}, 'annotates a platform that it does not build'],
  ['image', { name: 'a', 'annotation-manifest[no/such].x': 'y' }, {}, 'annotates a platform that it does not build'],
  ['image', { name: 'a' }, { cache: { exports: [{ type: 'registry', attrs: {} }] } }, 'one cache'],
  ['image', { name: 'a' }, { enableSessionExporter: true }, 'chooses exporters later'],
  ['image', { name: 'a' }, { frontendAttrs: { requestid: 'frontend.outline' } }, 'question'],
  ['image', { push: 'true' }, {}, 'without a name'],
])('%s with %j and %j is built whole', (type, attrs, more, because) => {
  expect(outputOf(type, attrs, more)).toEqual({ because: expect.stringContaining(because) as string })
})

test('images are placed or pushed, and what is pushed has no tag until all is there', () => {
  expect(outputOf('image', { name: 'app' })).toEqual({ kind: 'place', names: ['docker.io/library/app:latest'] })
  expect(splitOutput(create(SolveRequestSchema, {}), [])).toEqual({ kind: 'none' })
  const inline = { cache: { exports: [{ type: 'inline', attrs: {} }] } }
  const pushed = outputOf('image', { name: 'r.test/a:1,r.test/a:2,r.test/b', push: 'true' }, inline)
  expect(pushed).toMatchObject({ kind: 'push', byDigest: false, insecure: false })
  if ('because' in pushed) throw new Error(pushed.because)
  expect(partAttributes({ name: 'x', push: 'true', compression: 'zstd' }, pushed, ['linux/amd64'])).toMatchObject({
    ...{ name: 'r.test/a,r.test/b', 'push-by-digest': 'true', store: 'false', compression: 'zstd' },
  })
})

describe('annotations of one platform', () => {
  const attrs = {
    ...{ name: 'a', 'annotation.who': 'all', 'annotation.of': 'all', 'annotation-manifest.at': 'all' },
    ...{ 'annotation[linux/amd64].of': 'amd', 'annotation-manifest[arm64].of': 'arm', 'annotation[aarch64].at': 'arm' },
    'annotation-manifest[linux/arm/v7].of': 'v7',
  }
  const platforms = ['linux/amd64', 'linux/arm64', 'linux/arm/v7']
  const output = splitOutput(create(SolveRequestSchema, { exporters: [{ type: 'image', attrs }] }), platforms)
  if ('because' in output) throw new Error(output.because)

  test('are those of the image in a part of one platform, and win over those of all', () => {
    expect(partAttributes(attrs, output, ['linux/amd64'])).toEqual({
      ...{ name: 'a', 'annotation.who': 'all', 'annotation-manifest.of': 'amd', 'annotation-manifest.at': 'all' },
    })
    expect(partAttributes(attrs, output, ['linux/arm64'])).toEqual({
      ...{ name: 'a', 'annotation.who': 'all', 'annotation-manifest.of': 'arm', 'annotation-manifest.at': 'arm' },
    })
  })

  test('are left to a part of several; what is of a platform that it does not have is not in it', () => {
    const { 'annotation[linux/amd64].of': _, ...arms } = attrs
    expect(partAttributes(attrs, output, ['linux/arm64', 'linux/arm/v7'])).toEqual(arms)
  })
})

test('an image that is not stored gets no name on any node', () => {
  for (const store of ['false', '0'])
    expect(outputOf('image', { name: 'app', store })).toEqual({ kind: 'place', names: [] })
  expect(outputOf('image', { name: 'app', store: 'true' })).toMatchObject({ names: ['docker.io/library/app:latest'] })
})

test('steps of two parts are different steps, and say their platform', () => {
  const message = toBinary(
    StatusResponseSchema,
    create(StatusResponseSchema, {
      vertexes: [
        { digest: 'sha256:1', name: '[1/2] RUN make' },
        { digest: 'sha256:2', name: 'exporting to image', inputs: ['sha256:1'] },
        { digest: 'sha256:3', name: '[linux/arm64 2/2] RUN x' },
      ],
      logs: [{ vertex: 'sha256:1' }],
      statuses: [{ vertex: 'sha256:2' }],
      warnings: [{ vertex: 'sha256:1' }],
    }),
  )
  const [amd, arm] = ['linux/amd64', 'linux/arm64'].map((p) => fromBinary(StatusResponseSchema, relabel([p])(message)))
  if (!amd || !arm) throw new Error('nothing')
  expect(arm.vertexes.map(({ name }) => name)).toEqual([
    ...['[linux/arm64 1/2] RUN make', '[linux/arm64] exporting to image', '[linux/arm64 2/2] RUN x'],
  ])
  const [first, second] = arm.vertexes
  expect([second?.inputs[0], arm.logs[0]?.vertex, arm.warnings[0]?.vertex]).toEqual(Array(3).fill(first?.digest))
  expect(arm.statuses[0]?.vertex).toBe(second?.digest)
  const digests = new Set([...amd.vertexes, ...arm.vertexes].map(({ digest }) => digest))
  expect(digests.size).toBe(6)
})

test('wishes: each platform once, nothing but never and auto for emulation', () => {
  expect(readPlatforms(['amd64', 'linux/amd64', 'local'], { emulate: 'never' })).toEqual({
    platforms: ['linux/amd64'],
    nativeOnly: true,
  })
  expect(() => readPlatforms([], { emulate: 'sometimes' })).toThrow('insitu.emulate cannot be "sometimes"')
})

/** The part of a stream that a tunnel uses. */
class FakeStream extends EventEmitter {
  readonly written: Buffer[] = []
  closed = false
  room = true
  paused = false
  write(chunk: Buffer): boolean {
    this.written.push(chunk)
    return this.room
  }
  end(): void {}
  pause(): void {
    this.paused = true
  }
  resume(): void {
    this.paused = false
  }
  close(): void {
    this.closed = true
    this.emit('close')
  }
}

test('a tunnel carries bytes whatever pieces they come in, and waits for who does not read', async () => {
  const [a, b] = [new FakeStream(), new FakeStream()]
  const [near, far] = [a, b].map((stream) => tunnel(stream as unknown as Http2Stream))
  if (!near || !far) throw new Error('nothing')
  const sent = Buffer.alloc(5 << 20, 'abcdefg')
  a.room = false
  let done = false
  near.write(sent, () => (done = true))
  const wire = Buffer.concat(a.written)
  expect(done).toBe(false)
  a.emit('drain')
  const got: Buffer[] = []
  for (let at = 0; at < wire.length; at += 100_003) b.emit('data', wire.subarray(at, at + 100_003))
  expect(b.paused).toBe(true)
  far.on('data', (chunk: Buffer) => got.push(chunk))
  await new Promise((resolve) => setImmediate(resolve))
  expect(Buffer.concat(got).equals(sent)).toBe(true)
  expect([done, b.paused]).toEqual([true, false])
})

test('a tunnel that ends unread lets its call close, when that had ended on both sides', async () => {
  const stream = looseStream()
  let closed = false
  stream.once('close', () => (closed = true))
  const duplex = tunnel(stream)
  const wire = frame(Buffer.concat([Buffer.from([0x0a, 0x80, 0x80, 0x40]), Buffer.alloc(1 << 20)]))
  await new Promise((resolve) => setImmediate(resolve))
  for (let n = 0; n < 3; n++) stream.received(wire)
  stream.receivedEnd()
  stream.finish(0)
  await new Promise((resolve) => setImmediate(resolve))
  expect(closed).toBe(false)
  duplex.destroy()
  await expect.poll(() => closed).toBe(true)
})

test('what is no BytesMessage ends the tunnel', async () => {
  const stream = new FakeStream()
  const duplex = tunnel(stream as unknown as Http2Stream)
  const failed = new Promise((resolve) => duplex.once('error', resolve))
  stream.emit('data', frame(Buffer.from([0x12, 1, 65])))
  expect(await failed).toMatchObject({ message: expect.stringContaining('not what BuildKit sends') as string })
  expect(stream.closed).toBe(true)
})
