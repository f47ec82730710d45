import { mkdtemp } from 'node:fs/promises'
import { createServer } from 'node:http2'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { expect, test } from 'vitest'
import { InsituError } from '../errors.ts'
import { grpcConnection } from './connection.ts'
import { frame, messageCutter, readBody, unframe } from './framing.ts'
import { decodeMessage, encodeMessage, statusOf, statusTrailers } from './status.ts'

test('a framed message comes out as it went in', () => {
  for (const size of [0, 1, 70_000]) {
    const message = Buffer.alloc(size, 7)
    expect(unframe(frame(message))).toEqual(message)
  }
})

test('messages are cut at their ends, however they are chopped', () => {
  const framed = [0, 3, 70_000, 1, 0, 12].map((size) => frame(Buffer.alloc(size, size)))
  const all = Buffer.concat(framed)
  const ends = new Set(framed.map((_, i) => Buffer.concat(framed.slice(0, i + 1)).length).concat(0))
  for (const step of [1, 3, 5, 7, 4096, all.length]) {
    const cut = messageCutter()
    let size = 0
    let whole = true
    const out: Buffer[] = []
    for (let at = 0; at < all.length; at += step) {
      const piece = cut(all.subarray(at, at + step))
      size += piece.length
      out.push(piece)
      // Not an expect for each of 100,000 steps: those take seconds.
      whole &&= ends.has(size)
    }
    expect(whole).toBe(true)
    expect(Buffer.concat(out).equals(all)).toBe(true)
  }
})

test('what is not exactly one plain message is refused', () => {
  expect(() => unframe(Buffer.alloc(4))).toThrow('no message')
  expect(() => unframe(Buffer.concat([frame(Buffer.from('a')), frame(Buffer.from('b'))]))).toThrow('says 1 bytes')
  expect(() => unframe(frame(Buffer.from('abc')).subarray(0, 6))).toThrow('says 3 bytes and has 1')
  expect(() => unframe(Buffer.from([1, 0, 0, 0, 0]))).toThrow('compressed')
})

test('a body is collected up to its limit', async () => {
  const small = new PassThrough()
  small.end('abc')
  expect((await readBody(small, 3)).toString()).toBe('abc')
  const large = new PassThrough()
  large.end('abcd')
  await expect(readBody(large, 3)).rejects.toThrow('larger than')
  const torn = new PassThrough()
  const reading = readBody(torn, 3)
  torn.destroy()
  await expect(reading).rejects.toThrow('the client went away')
})

test('status messages survive headers, whatever they contain', () => {
  for (const text of ['plain', '100 %', 'zwei\nZeilen', 'größe → 日本', '%zz']) {
    const encoded = encodeMessage(text)
    expect(encoded).toMatch(/^[ -~]*$/)
    expect(decodeMessage(encoded)).toBe(text)
  }
  expect(decodeMessage('%zz')).toBe('%zz')
})

test('errors become the status a client sees', () => {
  const error = new InsituError('X', 'it is closed', {
    status: 'UNAVAILABLE',
    fix: 'open it',
    cause: new Error('night'),
  })
  expect(statusOf(error)).toEqual({ code: 14, message: 'it is closed: night; to fix it: open it' })
  expect(statusOf(new TypeError('bug')).code).toBe(13)
  expect(statusTrailers({ code: 0, message: '' })).toEqual({ 'grpc-status': '0' })
})

test('a connection reads many messages, however they are cut, and the status of the call', async () => {
  const sent = [0, 3, 70_000, 5].map((size) => Buffer.alloc(size, 'm'))
  const server = createServer().on('stream', (stream, headers) => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
    stream.on('wantTrailers', () =>
      stream.sendTrailers(
        headers[':path'] === '/x/Fails' ? { 'grpc-status': '5', 'grpc-message': 'no%20such' } : { 'grpc-status': '0' },
      ),
    )
    const bytes = Buffer.concat(sent.map(frame))
    for (let at = 0; at < bytes.length; at += 999) stream.write(bytes.subarray(at, at + 999))
    stream.end()
  })
  const socket = join(await mkdtemp(join(tmpdir(), 'insitu-grpc-')), 's')
  await new Promise<void>((resolve) => void server.listen(socket, resolve))
  const connection = grpcConnection(socket)
  try {
    const got: number[] = []
    await connection.stream({ method: '/x/Many' }, (message) => got.push(message.length))
    expect(got).toEqual([0, 3, 70_000, 5])
    expect((await connection.unary({ method: '/x/Many' })).length).toBe(0)
    await expect(connection.unary({ method: '/x/Fails' })).rejects.toMatchObject({ status: 'NOT_FOUND' })
    const underWay = connection.unary({ method: '/x/Many' })
    connection.close()
    await expect(underWay).rejects.toMatchObject({ status: 'UNAVAILABLE' })
    // The server is still there.
    await expect(connection.unary({ method: '/x/Late' })).rejects.toMatchObject({ status: 'UNAVAILABLE' })
  } finally {
    connection.close()
    server.close()
  }
})
