import { expect, test } from 'vitest'
import { HpackDecoder } from './decoder.ts'
import { encodeHeaders } from './encoder.ts'
import { decodeHuffman } from './huffman.ts'

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex')
const unlimited = 1 << 20

test('the Huffman strings of RFC 7541 appendix C', () => {
  expect(decodeHuffman(hex('f1e3 c2e5 f23a 6ba0 ab90 f4ff'))).toBe('www.example.com')
  expect(decodeHuffman(hex('a8eb 1064 9cbf'))).toBe('no-cache')
  expect(decodeHuffman(hex('d07a be94 1054 d444 a820 0595 040b 8166 e082 a62d 1bff'))).toBe(
    'Mon, 21 Oct 2013 20:13:21 GMT',
  )
  expect(() => decodeHuffman(hex('ffff ffff'))).toThrow('end of string')
  expect(() => decodeHuffman(hex('f1e3 c2e5 f23a 6ba0 ab90 f4ff ff'))).toThrow('padding')
})

test('requests on one connection build on each other (RFC 7541 C.4)', () => {
  const decoder = new HpackDecoder()
  const decode = (text: string) => decoder.decode(hex(text), unlimited).headers
  const base = [':method', 'GET', ':scheme', 'http', ':path', '/', ':authority', 'www.example.com']
  expect(decode('8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff')).toEqual(base)
  expect(decode('8286 84be 5886 a8eb 1064 9cbf')).toEqual([...base, 'cache-control', 'no-cache'])
})

test('a small table forgets the oldest (RFC 7541 C.6)', () => {
  const decoder = new HpackDecoder(256)
  const decode = (text: string) => decoder.decode(hex(text), unlimited).headers
  const first = decode(
    '4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3',
  )
  expect(first.slice(0, 4)).toEqual([':status', '302', 'cache-control', 'private'])
  expect(decode('4883 640e ffc1 c0bf').slice(0, 4)).toEqual([':status', '307', 'cache-control', 'private'])
})

test('what we encode is read back, lines of one name in their order', () => {
  const headers = [':status', '200', 'content-type', 'application/grpc', 'm', '1', 'm', '2', 'x', 'y'.repeat(70_000)]
  const decoder = new HpackDecoder()
  expect(decoder.decode(encodeHeaders(headers, true), unlimited)).toEqual({ headers, tooLarge: false })
  expect(decoder.decode(encodeHeaders(headers, false), 65_536)).toEqual({ headers: [], tooLarge: true })
})

test.for(['80', 'ff80', '40', '4085', '00 7f ff ff ff ff ff', '3fe2 1f', '8220', 'bf'])('%s is refused', (text) => {
  expect(() => new HpackDecoder().decode(hex(text), unlimited)).toThrow(/that|larger|after/)
})
