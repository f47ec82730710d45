import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { assembleIndex, type Descriptor, type PartImage } from './image-index.ts'

const digest = (of: string): string => `sha256:${createHash('sha256').update(of).digest('hex')}`
const manifest = (of: string, more: Partial<Descriptor> = {}): Descriptor => ({
  mediaType: 'application/vnd.oci.image.manifest.v1+json',
  digest: digest(of),
  size: 480,
  ...more,
})
const part = (node: string, platform: string, manifests?: readonly Descriptor[]): PartImage => ({
  node,
  platforms: [platform],
  descriptor: manifest(`${node} ${platform}`),
  manifests,
})
const read = (parts: readonly PartImage[], platforms: readonly string[] = []) => {
  const index = assembleIndex(parts, platforms)
  expect(index.digest).toBe(`sha256:${createHash('sha256').update(index.bytes).digest('hex')}`)
  return { ...index, manifests: (JSON.parse(index.bytes.toString()) as { manifests: Descriptor[] }).manifests }
}

test('plain manifests get their platform, in the order in which they were asked for', () => {
  const parts = [part('a', 'linux/amd64'), part('b', 'linux/arm64/v8'), part('c', 'linux/arm/v7')]
  const { manifests, mediaType } = read(parts, ['linux/arm64', 'linux/arm/v7', 'linux/amd64'])
  expect(mediaType).toBe('application/vnd.oci.image.index.v1+json')
  expect(manifests.map(({ platform }) => platform)).toEqual([
    { os: 'linux', architecture: 'arm64' },
    { os: 'linux', architecture: 'arm', variant: 'v7' },
    { os: 'linux', architecture: 'amd64' },
  ])
})

test('attestations stay, after the images', () => {
  const of = (arch: string): Descriptor[] => [
    manifest(arch, { platform: { os: 'linux', architecture: arch } }),
    manifest(`${arch} attested`, {
      platform: { os: 'unknown', architecture: 'unknown' },
      annotations: { 'vnd.docker.reference.type': 'attestation-manifest', 'vnd.docker.reference.digest': digest(arch) },
    }),
  ]
  const { manifests } = read(
    [part('a', 'linux/amd64', of('amd64')), part('b', 'linux/arm64', of('arm64'))],
    ['linux/amd64', 'linux/arm64'],
  )
  expect(manifests.map((m) => m.digest)).toEqual(['amd64', 'arm64', 'amd64 attested', 'arm64 attested'].map(digest))
  expect(manifests[2]?.annotations?.['vnd.docker.reference.digest']).toBe(digest('amd64'))
})

test('docker’s media types make a manifest list', () => {
  const docker = (arch: string): PartImage => {
    const descriptor = { ...manifest(arch), mediaType: 'application/vnd.docker.distribution.manifest.v2+json' }
    return { node: arch, platforms: [`linux/${arch}`], descriptor, manifests: undefined }
  }
  expect(read([docker('amd64'), docker('arm64')]).mediaType).toBe(
    'application/vnd.docker.distribution.manifest.list.v2+json',
  )
})

test('different images for one platform are an error that names both', () => {
  expect(() => assembleIndex([part('a', 'linux/arm64'), part('b', 'linux/arm64/v8')], [])).toThrow(
    /nodes a and b made different images for linux\/arm64: sha256:\w+ and sha256:\w+/,
  )
  const same = { ...part('b', 'linux/arm64'), descriptor: part('a', 'linux/arm64').descriptor }
  expect(read([part('a', 'linux/arm64'), same]).manifests).toHaveLength(1)
})
