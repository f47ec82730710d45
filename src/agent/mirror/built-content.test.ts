import { beforeEach, expect, test } from 'vitest'
import type { BuiltImage } from '../../api/images.ts'
import { type BuiltContent, builtContent } from './built-content.ts'

const sha = (digit: string): string => `sha256:${digit.repeat(64)}`
const oci = 'application/vnd.oci.image'
const child = (digit: string, type: string) => ({ mediaType: `${oci}.${type}`, digest: sha(digit), size: 1 })
const manifest = (layer: string): Buffer =>
  Buffer.from(JSON.stringify({ config: child('0', 'config.v1+json'), layers: [child(layer, 'layer.v1.tar')] }))
const index = (...manifests: readonly string[]): Buffer =>
  Buffer.from(JSON.stringify({ manifests: manifests.map((one) => child(one, 'manifest.v1+json')) }))

let images: BuiltImage[]
let revision: number
let blobs: Map<string, Buffer>
let reads: string[]
/** Until this, reading takes. */
let gate: Promise<void>
let now: number
let built: BuiltContent

beforeEach(() => {
  images = []
  revision = 0
  blobs = new Map()
  reads = []
  gate = Promise.resolve()
  now = 0
  const records = { find: () => undefined, list: () => images, revision: () => revision }
  const read = async (digest: string): Promise<Buffer> => {
    reads.push(digest)
    await gate
    const bytes = blobs.get(digest)
    if (!bytes) throw new Error('not here')
    return bytes
  }
  const never = (): never => {
    throw new Error('not asked for')
  }
  built = builtContent(records, { read, size: never, stream: never, pieces: never }, () => now)
})

function record(digit: string): void {
  images.push({ name: `registry.test/${digit}:1`, digest: sha(digit), version: 1 })
  revision += 1
}

test('an image that is recorded while others are being read is found by who asks then', async () => {
  const open = Promise.withResolvers<void>()
  gate = open.promise
  blobs.set(sha('a'), manifest('1')).set(sha('b'), manifest('2'))
  record('a')
  const first = built.descriptor(sha('1'))
  record('b')
  const asked = [built.descriptor(sha('2')), built.descriptor(sha('b'))]
  open.resolve()
  expect((await first)?.digest).toBe(sha('1'))
  expect((await Promise.all(asked)).map((found) => found?.digest)).toEqual([sha('2'), sha('b')])
  expect(reads).toEqual([sha('a'), sha('b')])
})

test('a platform that comes later is found, and images that are whole are read once', async () => {
  blobs.set(sha('a'), index('b', 'c')).set(sha('b'), manifest('1')).set(sha('d'), manifest('3'))
  record('a')
  record('d')
  expect((await built.descriptor(sha('1')))?.digest).toBe(sha('1'))
  expect(await built.descriptor(sha('2'))).toBeUndefined()
  blobs.set(sha('c'), manifest('2'))
  now += 1000
  expect((await built.descriptor(sha('2')))?.digest).toBe(sha('2'))
  now += 1000
  await built.descriptor(sha('2'))
  expect(reads.filter((digest) => digest === sha('d'))).toHaveLength(1)
  expect(reads.filter((digest) => digest === sha('a'))).toHaveLength(2)
})

test('what is not here yet when it is recorded is found as soon as it is', async () => {
  record('a')
  expect(await built.descriptor(sha('a'))).toBeUndefined()
  blobs.set(sha('a'), manifest('1'))
  expect((await built.descriptor(sha('a')))?.digest).toBe(sha('a'))
})
