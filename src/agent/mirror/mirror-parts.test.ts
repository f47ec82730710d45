import { afterEach, describe, expect, it, vi } from 'vitest'
import type { Lookup } from '../../api/images.ts'
import { parseRange } from './answer.ts'
import { configPathOf } from './config-path.ts'
import { parseToml } from '../../kernel/config/toml.ts'
import type { Gateways } from './gateways.ts'
import { createLinks } from './links.ts'
import { createLookups, joinAnswers } from './lookups.ts'
import { isManifestType, isPlainLayer, parseManifest } from './manifest.ts'
import { nextHop, parseTarget } from './target.ts'
import { createUploads } from './uploads.ts'

const digest = `sha256:${'a'.repeat(64)}`
const url = (path: string): URL => new URL(path, 'http://mirror')

describe('what a request asks for', () => {
  it.each([
    ['/v2/', { kind: 'api' }],
    [
      '/v2/library/app/manifests/v1?ns=docker.io',
      { kind: 'tag', repository: 'docker.io/library/app', tag: 'v1', hop: 0 },
    ],
    ['/v2/a/manifests/v1?insitu-hop=3&ns=x:5000', { kind: 'tag', repository: 'x:5000/a', tag: 'v1', hop: 3 }],
    [`/v2/a/b/manifests/${digest}?ns=x.test`, { kind: 'manifest', repository: 'x.test/a/b', digest }],
    [`/v2/a/b/blobs/${digest}?ns=x.test`, { kind: 'blob', repository: 'x.test/a/b', digest }],
    [`/v2/a/b/referrers/${digest}?ns=x.test`, { kind: 'referrers' }],
    ['/v2/a/manifests/v1', { kind: 'unknown' }],
    [`/v2/a/../../blobs/${digest}?ns=x.test`, { kind: 'unknown' }],
    ['/v2/a/blobs/sha256:..%2f..?ns=x.test', { kind: 'unknown' }],
    ['/v2/_catalog', { kind: 'unknown' }],
  ])('%s', (path, target) => expect(parseTarget(url(path))).toEqual(target))

  it('counts redirects in the query', () => {
    expect(nextHop(url('/v2/a/manifests/v1?ns=x'), 0)).toBe('/v2/a/manifests/v1?ns=x&insitu-hop=1')
    expect(nextHop(url('/v2/a/manifests/v1?ns=x&insitu-hop=1'), 1)).toBe('/v2/a/manifests/v1?ns=x&insitu-hop=2')
  })
})

it.each([
  [undefined, undefined],
  ['bytes=0-', { start: 0, end: 99 }],
  ['bytes=10-19', { start: 10, end: 19 }],
  ['bytes=-5', { start: 95, end: 99 }],
  ['bytes=90-500', { start: 90, end: 99 }],
  ['bytes=100-', 'unsatisfiable'],
  ['bytes=9-3', undefined],
  ['bytes=0-1,5-6', undefined],
])('range %s of 100 bytes', (header, range) => expect(parseRange(header, 100)).toEqual(range))

describe('manifests', () => {
  it('know their children, whatever their kind', () => {
    const config = { mediaType: 'c', digest, size: 1 }
    const bytes = (value: unknown): Buffer => Buffer.from(JSON.stringify(value))
    const layer = { mediaType: 'l', digest: `sha256:${'b'.repeat(64)}`, size: 2 }
    expect(parseManifest(bytes({ config, layers: [layer] }))).toEqual({
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      children: [config, layer],
    })
    expect(parseManifest(bytes({ mediaType: 'x', manifests: [config] }))).toEqual({
      mediaType: 'x',
      children: [config],
    })
    expect(() => parseManifest(bytes({}))).toThrow('neither')
  })

  it.each([
    ['application/vnd.oci.image.index.v1+json', true, false],
    ['application/vnd.docker.distribution.manifest.v2+json', true, false],
    ['application/vnd.docker.distribution.manifest.list.v2+json', true, false],
    ['application/vnd.oci.image.layer.v1.tar', false, true],
    ['application/vnd.oci.image.layer.v1.tar+gzip', false, false],
    ['application/vnd.docker.image.rootfs.diff.tar', false, true],
    ['application/vnd.docker.image.rootfs.diff.tar.gzip', false, false],
  ])('%s', (type, manifest, plain) => {
    expect([isManifestType(type), isPlainLayer(type)]).toEqual([manifest, plain])
  })
})

describe('answers of several gateways', () => {
  const image = (version: number) => ({ name: 'docker.io/library/a:1', digest: `sha256:${version}`, version })
  const peer = (node: string) => ({ node, host: node, port: 1 })
  const joined = (...answers: Lookup[]) => joinAnswers(new Map(answers.map((answer, i) => [`g${i}`, answer])))

  it('are joined: building wins, then the newest with all who have it', () => {
    const old: Lookup = { state: 'here', image: image(1), peers: [peer('a')] }
    const newest: Lookup = { state: 'here', image: image(2), peers: [peer('b')] }
    const again: Lookup = { state: 'here', image: image(2), peers: [peer('c'), peer('b')] }
    expect(joined(old, { state: 'building', node: 'n' })).toEqual({ state: 'building', by: ['g1'] })
    expect(joined(old, newest, again)).toMatchObject({ image: image(2), peers: [{ node: 'b' }, { node: 'c' }] })
    expect(joined({ state: 'none' }, old)).toMatchObject({ image: image(1) })
    expect(joined({ state: 'none' })).toEqual({ state: 'none' })
    const failed: Lookup = { state: 'failed', reason: 'exit code: 3' }
    expect(joined({ state: 'onPull' }, old)).toMatchObject({ state: 'here' })
    expect(joined({ state: 'none' }, { state: 'onPull' }, { state: 'onPull' })).toEqual({ state: 'onPull', ask: 'g1' })
    expect(joined({ state: 'onPull' }, failed)).toEqual(failed)
    expect(joined()).toEqual({ state: 'unreachable' })
  })

  it('need not all come: one that is late is left out until it has answered', async () => {
    const release = Promise.withResolvers<void>()
    let asked = 0
    const lookups = createLookups({
      ...{ patience: 5, none: 5 },
      first: 1000,
      gateways: {
        connected: () => ['quick', 'late'],
        async get(address) {
          if (address === 'quick') return { state: 'none' }
          asked += 1
          await release.promise
          return { state: 'none' }
        },
        close() {},
      },
    })
    expect(await lookups.ask({ name: 'docker.io/library/a:1' })).toEqual({ state: 'none', unheard: ['late'] })
    expect(await lookups.ask({ name: 'docker.io/library/a:1' })).toEqual({ state: 'none', unheard: ['late'] })
    expect(asked).toBe(1)
    release.resolve()
    await expect.poll(async () => (await lookups.ask({ name: 'docker.io/library/a:1' })) && asked).toBe(2)
  })

  it('one that failed at once is asked the next time: nothing of it is still to come', async () => {
    const asked: string[] = []
    const lookups = createLookups({
      ...{ patience: 5, none: 20, first: 20 },
      gateways: {
        connected: () => ['failing', 'late'],
        get(address) {
          asked.push(address)
          if (address === 'failing') return Promise.reject(new Error('reset'))
          return new Promise((resolve) => setTimeout(() => resolve({ state: 'none' }), 200))
        },
        close() {},
      },
    })
    await lookups.ask({ name: 'docker.io/library/a:1' })
    await lookups.ask({ name: 'docker.io/library/a:1' })
    expect(asked).toEqual(['failing', 'late', 'failing'])
  })

  it('are waited for longer while the others know of nothing: the gateway that relays the build is the busy one', async () => {
    const busy = Promise.withResolvers<Lookup>()
    const gateways = (quick: Lookup): Gateways => ({
      connected: () => ['quick', 'busy'],
      get: (address) => (address === 'quick' ? Promise.resolve(quick) : busy.promise),
      close() {},
    })
    const found: Lookup = { state: 'here', image: image(1), peers: [peer('a')] }
    const sure = createLookups({ gateways: gateways(found), patience: 5, none: 60_000 })
    expect(await sure.ask({ name: 'docker.io/library/a:1' })).toMatchObject({ state: 'here' })
    const unsure = createLookups({ gateways: gateways({ state: 'none' }), patience: 5, none: 60_000 })
    const asked = unsure.ask({ name: 'docker.io/library/a:1' })
    // Later than the patience with those that are late.
    setTimeout(() => busy.resolve({ state: 'building', node: 'n' }), 30)
    expect(await asked).toEqual({ state: 'building', by: ['busy'] })
  })
})

describe('uploads', () => {
  afterEach(() => void vi.useRealTimers())

  it('serve few at a time, each with all its connections, and the urgent ones', () => {
    const uploads = createUploads({ most: 2 })
    const first = uploads.begin('a', false)
    expect([uploads.begin('a', false), uploads.begin('b', false)].every(Boolean)).toBe(true)
    expect(uploads.begin('c', false)).toBeUndefined()
    expect(uploads.begin('c', true)).toBeDefined()
    first?.()
    expect(uploads.begin('d', false)).toBeUndefined()
  })

  it('keep the place of a puller between two layers, and no longer than that', () => {
    vi.useFakeTimers()
    const uploads = createUploads({ most: 1, linger: 500 })
    const isFull = (): boolean => uploads.begin('b', false) === undefined
    const first = uploads.begin('a', false)
    first?.()
    vi.advanceTimersByTime(499)
    expect(isFull()).toBe(true)
    const second = uploads.begin('a', false)
    // The next layer takes longer, and what ended before it says so once more.
    first?.()
    vi.advanceTimersByTime(10_000)
    expect(isFull()).toBe(true)
    second?.()
    vi.advanceTimersByTime(499)
    expect(isFull()).toBe(true)
    vi.advanceTimersByTime(1)
    expect(uploads.clients).toBe(0)
    expect(isFull()).toBe(false)
  })
})

describe('links', () => {
  it('are slow when a long transfer said so, for a while', () => {
    let now = 0
    const links = createLinks(() => now)
    links.measured('a', 1 << 20, 1000)
    expect(links.isSlow('a')).toBe(false)
    links.measured('a', 100e6, 1000)
    links.measured('b', 500e6, 1000)
    expect([links.isSlow('a'), links.isSlow('b')]).toEqual([true, false])
    now = 700_000
    expect(links.isSlow('a')).toBe(false)
  })
})

it.each([
  ['2', '[plugins."io.containerd.cri.v1.images".registry]\nconfig_path = "/a:/b"', '/a:/b'],
  ['1.x', '[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "/a"', '/a'],
  ['none', '[plugins."io.containerd.grpc.v1.cri".registry]\n', undefined],
  // Parts of `containerd config dump` of 1.6.20, and of 2.4.2 where the plug-in has one name for registry and transfer.
  [
    '1.6, dumped',
    'version = 2\n[plugins]\n  [plugins."io.containerd.grpc.v1.cri"]\n    sandbox_image = "registry.k8s.io/pause:3.6"\n    [plugins."io.containerd.grpc.v1.cri".registry]\n      config_path = "/etc/containerd/certs.d"\n\n      [plugins."io.containerd.grpc.v1.cri".registry.auths]\n\n      [plugins."io.containerd.grpc.v1.cri".registry.mirrors]\n',
    '/etc/containerd/certs.d',
  ],
  [
    '1.6 without one, dumped',
    'version = 2\n[plugins]\n  [plugins."io.containerd.grpc.v1.cri"]\n    [plugins."io.containerd.grpc.v1.cri".registry]\n      config_path = ""\n\n      [plugins."io.containerd.grpc.v1.cri".registry.mirrors]\n',
    undefined,
  ],
  // What k3s and rke2 render: with containerd 2, with 1.7, and before they had a directory of hosts.
  [
    'k3s with 2.x',
    'version = 3\nroot = "/var/lib/rancher/k3s/agent/containerd"\n[plugins.\'io.containerd.cri.v1.images\'.registry]\n  config_path = "/var/lib/rancher/k3s/agent/etc/containerd/certs.d"\n',
    '/var/lib/rancher/k3s/agent/etc/containerd/certs.d',
  ],
  [
    'rke2 with 1.7',
    'version = 2\n[plugins."io.containerd.grpc.v1.cri"]\n  stream_server_port = "10010"\n[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "/var/lib/rancher/rke2/agent/etc/containerd/certs.d"\n',
    '/var/lib/rancher/rke2/agent/etc/containerd/certs.d',
  ],
  [
    'an old k3s',
    'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]\n  endpoint = ["http://10.0.0.1:5000"]\n',
    undefined,
  ],
])('config_path of containerd %s', (_, text, path) => expect(configPathOf(parseToml(text, 'config.toml'))).toBe(path))
