import { execFile } from 'node:child_process'
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { connect } from 'node:tls'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { putMirror, removeMirror } from '../../src/agent/mirror/certs.ts'
import { registryDirectories } from '../../src/agent/mirror/config-path.ts'
import { type Mirror, startMirror } from '../../src/agent/mirror/mirror.ts'
import { containerdCall } from '../../src/agent/host/containerd-call.ts'
import type { Lookup } from '../../src/api/images.ts'
import { unary } from '../../src/kernel/grpc/unary.ts'
import { fieldOf } from '../../src/kernel/grpc/wire.ts'
import { type Authority, createAuthority } from '../../src/kernel/tls/ca.ts'
import { startNode, type TestNode } from './fixtures/containerd.ts'
import { type CountedRegistry, startCountedRegistry } from './fixtures/counted-registry.ts'
import {
  agentTls,
  layOut,
  silent,
  startPeer,
  type TestGateways,
  testGateways,
  type TestPeer,
  testRecords,
} from './fixtures/mirror-peers.ts'
import { type SketchedImage, sketchImage } from './fixtures/oci-image.ts'
import { until } from './fixtures/until.ts'

const exec = promisify(execFile)
const token = 'a-secret-of-the-node'
const MiB = 1 << 20

/** The puller: a real containerd with its CRI plug-in, whose only way out is this machine. */
let node: TestNode
let socket: string
let address: string
let authority: Authority
let records: ReturnType<typeof testRecords>
let gateways: TestGateways
let mirror: Mirror
/** A registry that containerd asks after the mirror, for names of `real.test`. */
let registry: CountedRegistry
let peers: TestPeer[] = []
let next = 0

/** What a kubelet does. */
const pull = (name: string): Promise<Uint8Array> => {
  const image = fieldOf(1, name)
  const request = Buffer.concat([Uint8Array.from([0x0a, image.length]), image])
  return unary({ socket, method: '/runtime.v1.ImageService/PullImage', request, timeout: 90_000 })
}
const here = (image: SketchedImage, name: string, from: readonly TestPeer[], version = 1): Lookup => ({
  ...{ state: 'here', image: { name, digest: image.digest, version }, peers: from.map((one) => one.peer) },
})
const fresh = (): string => `registry.example.test/team/app${next++}:latest`

/** Peers that have the image, and a gateway that says so. */
async function publish(name: string, image: SketchedImage, count: number): Promise<TestPeer[]> {
  const found: TestPeer[] = []
  for (let i = 0; i < count; i += 1) {
    const root = join(node.directory, `peer${next++}`)
    await layOut(root, image.blobs)
    const peer = await startPeer({ authority, node: `worker-${next}`, root })
    peer.records.set({ name, digest: image.digest, version: 1 })
    found.push(peer)
  }
  peers.push(...found)
  gateways.answer('one', () => here(image, name, found))
  return found
}
const request = (path: string, method = 'GET', headers: Record<string, string> = { 'x-insitu-mirror': token }) =>
  fetch(`${address}${path}`, { method, headers, redirect: 'manual' })

beforeAll(async () => {
  node = await startNode()
  socket = `/proc/${node.pid}/root/run/containerd/containerd.sock`
  authority = await createAuthority()
  const net = 200 + (process.pid % 50)
  const link = `im${process.pid}`
  await exec('ip', ['link', 'add', link, 'type', 'veth', 'peer', 'name', 'out', 'netns', String(node.pid)])
  await exec('ip', ['address', 'add', `10.98.${net}.1/24`, 'dev', link])
  await exec('ip', ['link', 'set', link, 'up'])
  await node.ok('ip', ['address', 'add', `10.98.${net}.2/24`, 'dev', 'out'])
  await node.ok('ip', ['link', 'set', 'out', 'up'])
  records = testRecords()
  gateways = testGateways()
  mirror = await startMirror({
    containerdRoot: join(node.directory, 'containerd'),
    containerd: containerdCall(socket, 'k8s.io'),
    tls: agentTls(authority, 'puller'),
    ...{ records, gateways, token, port: 0, host: `10.98.${net}.1`, log: silent, hold: 1000 },
  })
  address = `http://10.98.${net}.1:${mirror.server.port}`
  const directories = await registryDirectories({ address: socket, pid: undefined, hostRoot: '/' })
  registry = await startCountedRegistry()
  const hosts = join(directories[0] ?? '', 'real.test')
  await mkdir(hosts, { recursive: true })
  await writeFile(join(hosts, 'hosts.toml'), `server = "http://10.98.${net}.1:${registry.port}"\n`)
  await putMirror({ directories, hostRoot: '/' }, { url: address, token })
})
beforeEach(() => {
  gateways.answer('one', () => ({ state: 'none' }))
})
afterEach(async () => {
  for (const peer of peers.splice(0)) await peer.close()
  gateways.answer('one', undefined)
  gateways.answer('two', undefined)
  records.set()
})
afterAll(async () => {
  await mirror?.close()
  await registry?.stop()
  await node?.stop()
})

describe('a pull through containerd', () => {
  it.each([
    ['a manifest', {}],
    ['an index with a platform that is not there', { index: true }],
    ['docker’s media types', { docker: true }],
  ])('gets %s from another node', async (_, more) => {
    const name = fresh()
    const image = await sketchImage(node.directory, name, { layers: [300_000, 9 * MiB], ...more })
    const [peer] = await publish(name, image, 1)
    await pull(name)
    expect(await node.ctr(['images', 'ls'])).toContain(`${name} `)
    expect(await node.ctr(['images', 'ls', `name==${name}`])).toContain(image.digest)
    expect(peer?.sent()).toBeGreaterThan(9 * MiB)
    // By digest, without any name.
    await node.ctr(['images', 'rm', '--sync', name])
    await pull(`${name.slice(0, name.lastIndexOf(':'))}@${image.digest}`)
  })

  it('gets one layer after the other, so that containerd unpacks while others still come', async () => {
    const name = fresh()
    const image = await sketchImage(node.directory, name, { layers: [2 * MiB, 2 * MiB, 2 * MiB, 2 * MiB] })
    const [peer] = await publish(name, image, 1)
    await pull(name)
    const layers = (peer?.transfers() ?? []).filter(({ digest }) => image.layers.includes(digest))
    expect(layers.map(({ what }) => what)).toEqual(image.layers.flatMap(() => ['begin', 'end']))
    expect(new Set(layers.map(({ digest }) => digest))).toEqual(new Set(image.layers))
  })

  it('gets its own platform from the node that has it, whoever else has the name', async () => {
    const name = fresh()
    const image = await sketchImage(node.directory, name, { layers: [300_000, 5 * MiB], index: true })
    const [own] = await publish(name, image, 1)
    const root = join(node.directory, `peer${next++}`)
    const index = image.blobs.get(image.digest)
    await layOut(root, new Map(index ? [[image.digest, index]] : []))
    const foreign = await startPeer({ authority, node: 'foreign', root })
    foreign.records.set({ name, digest: image.digest, version: 1 })
    peers.push(foreign)
    gateways.answer('one', () => here(image, name, own ? [foreign, own] : []))
    await pull(name)
    expect(await node.ctr(['images', 'ls', `name==${name}`])).toContain(image.digest)
    expect(own?.sent()).toBeGreaterThan(5 * MiB)
    expect(foreign.sent()).toBe(index?.length)
  })

  it('gets the older of two tags from the node that has it, though another has a newer image of the repository', async () => {
    const name = fresh()
    const image = await sketchImage(node.directory, name, { layers: [300_000, 5 * MiB], index: true })
    const [own] = await publish(name, image, 1)
    const tag = name.replace(':latest', ':newer')
    const newer = await sketchImage(node.directory, tag, { layers: [MiB] })
    const [other] = await publish(tag, newer, 1)
    gateways.answer('one', (query) =>
      query.get('name') === name || query.get('digest') === image.digest
        ? here(image, name, own ? [own] : [])
        : here(newer, tag, other ? [other] : [], 2),
    )
    await pull(name)
    expect(await node.ctr(['images', 'ls', `name==${name}`])).toContain(image.digest)
    expect(other?.sent()).toBe(0)
  })

  it('goes on at another node when one dies in the middle of a layer', async () => {
    const name = fresh()
    const image = await sketchImage(node.directory, name, { layers: [24 * MiB] })
    const [first, second] = await publish(name, image, 2)
    first?.breakAfter(10 * MiB)
    await pull(name)
    expect(first?.sent()).toBeGreaterThan(5 * MiB)
    // No byte twice, but those that were on their way.
    expect((first?.sent() ?? 0) + (second?.sent() ?? 0)).toBeLessThan(28 * MiB)
  })

  it('never gives a damaged layer to the end, and the next try takes it from another node', async () => {
    const name = fresh()
    const image = await sketchImage(node.directory, name, { layers: [12 * MiB] })
    const [bad, good] = await publish(name, image, 2)
    bad?.corrupt(true)
    // The kubelet tries again; nothing of the wrong bytes may be in its way.
    // containerd 1.7 does not ask for the message behind a status.
    await expect(pull(name)).rejects.toThrow('failed to pull')
    await until('the pull to work', () =>
      pull(name).then(
        () => true,
        () => false,
      ),
    )
    expect(good?.sent()).toBeGreaterThanOrEqual(12 * MiB)
    expect(await node.ctr(['content', 'ls', '-q'])).toContain(image.layers[0])
  })

  it('takes a small damaged blob from another node without anybody’s notice', async () => {
    const name = fresh()
    const image = await sketchImage(node.directory, name, { layers: [MiB] })
    const [bad] = await publish(name, image, 2)
    bad?.corrupt(true)
    await pull(name)
    expect(bad?.streams()).toBeGreaterThan(0)
  })

  it('fails at once for a name that nobody has, also when no gateway answers', async () => {
    const refused = (error: unknown): string => String(error)
    expect(await pull('registry.example.test/other/thing:1').catch(refused)).toContain('registry.example.test')
    gateways.answer('one', undefined)
    expect(await pull('registry.example.test/other/thing:1').catch(refused)).toContain('registry.example.test')
  })

  it('is held while the image is being built, over several redirects, and goes on when it is there', async () => {
    const name = fresh()
    const image = await sketchImage(node.directory, name, { layers: [2 * MiB] })
    const [peer] = await publish(name, image, 1)
    let built = false
    const waiting: (() => void)[] = []
    gateways.answer('one', (query) => {
      if (built) return here(image, name, peer ? [peer] : [])
      const building = { state: 'building', node: 'builder' } as const
      const wait = Number(query.get('wait') ?? '0')
      if (wait === 0) return building
      return new Promise((resolve) => {
        const timer = setTimeout(() => resolve(building), wait)
        waiting.push(() => (clearTimeout(timer), resolve(here(image, name, peer ? [peer] : []))))
      })
    })
    gateways.answer('two', () => ({ state: 'none' }))
    let over = false
    const pulled = pull(name).finally(() => (over = true))
    // One request is held for a second here: with the third wait there were two redirects.
    await until('two redirects', () => waiting.length >= 3)
    expect(over).toBe(false)
    built = true
    const at = performance.now()
    for (const wake of waiting) wake()
    await pulled
    expect(performance.now() - at).toBeLessThan(5000)
  })

  it('has an image built that a Build waits for, tells one gateway so, and goes on when it is there', async () => {
    const name = fresh()
    const image = await sketchImage(node.directory, name, { layers: [MiB] })
    const [peer] = await publish(name, image, 1)
    const demands: string[] = []
    for (const gateway of ['one', 'two']) {
      gateways.answer(gateway, (query) => {
        if (query.get('demand') === '1') demands.push(gateway)
        return demands.length < 3 ? { state: 'onPull' } : here(image, name, peer ? [peer] : [])
      })
    }
    await pull(name)
    expect(new Set(demands).size).toBe(1)
  })

  it('says why a build that it began has failed, also to those who come after', async () => {
    const name = fresh()
    let asked = false
    gateways.answer('two', () => ({ state: 'none' }))
    gateways.answer('one', (query) => {
      if (query.get('demand') === '1') asked = true
      return asked ? { state: 'failed', reason: 'exit code 7 of RUN make' } : { state: 'onPull' }
    })
    for (let i = 0; i < 2; i += 1) await expect(pull(name)).rejects.toThrow('exit code 7 of RUN make')
  })

  describe('of a name that a registry has with an old image', () => {
    let name: string
    let old: SketchedImage
    const building: Lookup = { state: 'building', node: 'builder' }
    const found = async (): Promise<string> => node.ctr(['images', 'ls', `name==${name}`])

    beforeEach(async () => {
      name = `real.test/team/app${next++}:latest`
      old = await sketchImage(node.directory, name, { layers: [1000] })
      await registry.push(name.slice(name.indexOf('/') + 1, name.lastIndexOf(':')), 'latest', old)
    })

    it('gets that when insitu has nothing to do with the name', async () => {
      await pull(name)
      expect(await found()).toContain(old.digest)
    })

    it('fails with the reason when the build fails, whatever characters that has', async () => {
      let waits = 0
      gateways.answer('one', (query) => {
        if (!query.has('wait')) return waits > 0 ? { state: 'none' } : building
        waits += 1
        return { state: 'failed', reason: 'exit code 3 of RUN make:\n\n→ „kein Ziel“' }
      })
      await expect(pull(name)).rejects.toThrow(`the build of ${name} failed: exit code 3 of RUN make: → „kein Ziel“`)
      expect(await found()).not.toContain(old.digest)
    })

    it('fails when the image is still being built after the last redirect', async () => {
      gateways.answer('one', (query) =>
        query.has('wait') ? new Promise((resolve) => setTimeout(() => resolve(building), 1000)) : building,
      )
      await expect(pull(name)).rejects.toThrow(`${name} is still being built`)
      expect(await found()).not.toContain(old.digest)
    })

    it.each([
      ['has lost it', false],
      ['does not answer', true],
    ])('gets that when the only node that had the built one %s', async (_, dead) => {
      const image = await sketchImage(node.directory, name, { layers: [1000] })
      const [peer] = await publish(name, image, 1)
      peer?.records.set()
      if (dead) await peer?.close()
      await pull(name)
      expect(await found()).toContain(old.digest)
    })
  })

  it('gets the newest of what two gateways know, and not what is older here', async () => {
    const name = fresh()
    const old = await sketchImage(node.directory, name, { layers: [MiB] })
    await publish(name, old, 1)
    await pull(name)
    records.set({ name, digest: old.digest, version: 1 })
    const rebuilt = await sketchImage(node.directory, name, { layers: [MiB] })
    await publish(name, rebuilt, 1)
    const newest = peers.at(-1)
    gateways.answer('one', () => here(old, name, peers.slice(0, 1), 1))
    gateways.answer('two', () => here(rebuilt, name, newest ? [newest] : [], 2))
    await pull(name)
    expect(await node.ctr(['images', 'ls', `name==${name}`])).toContain(rebuilt.digest)
  })
})

describe('the registry of a node', () => {
  it('serves what is here with all its headers, whether gateways answer or not, and nothing but built images', async () => {
    const name = fresh()
    const image = await sketchImage(node.directory, name, { layers: [2 * MiB, 1000] })
    await node.ctr(['images', 'import', image.archive])
    const path = `/v2/${name.slice(name.indexOf('/') + 1).replace(':', '/manifests/')}?ns=registry.example.test`
    expect((await request(path)).status).toBe(404)
    records.set({ name, digest: image.digest, version: 7 })
    gateways.answer('one', undefined)
    for (const method of ['GET', 'HEAD']) {
      const answer = await request(path, method)
      expect(answer.status).toBe(200)
      expect(answer.headers.get('docker-content-digest')).toBe(image.digest)
      expect(answer.headers.get('content-type')).toBe('application/vnd.oci.image.manifest.v1+json')
      expect((await answer.text()).length).toBe(method === 'GET' ? image.blobs.get(image.digest)?.length : 0)
    }
    const layer = image.layers[0] ?? ''
    const blob = `${path.split('/manifests/')[0]}/blobs/${layer}?ns=registry.example.test`
    const part = await request(blob, 'GET', { 'x-insitu-mirror': token, range: 'bytes=100-299' })
    expect([part.status, part.headers.get('content-range')]).toEqual([
      206,
      `bytes 100-299/${image.blobs.get(layer)?.length}`,
    ])
    expect(Buffer.from(await part.arrayBuffer()).equals(image.blobs.get(layer)!.subarray(100, 300))).toBe(true)
    records.set()
  })

  it('is read-only, has no referrers, and is for the containerd of its node', async () => {
    for (const method of ['POST', 'PUT', 'PATCH', 'DELETE']) {
      expect((await request('/v2/a/b/blobs/uploads/?ns=x.test', method)).status).toBe(405)
    }
    expect((await request('/v2/')).status).toBe(200)
    expect((await request(`/v2/a/b/referrers/sha256:${'0'.repeat(64)}?ns=x.test`)).status).toBe(404)
    expect((await request('/v2/', 'GET', {})).status).toBe(403)
  })

  it('redirects a held pull to itself, so often that containerd still follows', async () => {
    gateways.answer('one', (query) =>
      query.has('wait')
        ? new Promise((resolve) => setTimeout(() => resolve({ state: 'building', node: 'n' }), 1000))
        : { state: 'building', node: 'n' },
    )
    const first = await request('/v2/a/b/manifests/latest?ns=x.test', 'HEAD')
    expect(first.status).toBe(307)
    expect(first.headers.get('location')).toBe('/v2/a/b/manifests/latest?ns=x.test&insitu-hop=1')
    expect((await request('/v2/a/b/manifests/latest?ns=x.test&insitu-hop=9', 'HEAD')).status).toBe(300)
  })

  it('compresses a plain layer on its way from a slow node', async () => {
    const name = fresh()
    const image = await sketchImage(node.directory, name, { layers: [8 * MiB], compressible: true })
    const [peer] = await publish(name, image, 1)
    const { cert, key, ca } = (await agentTls(authority, 'puller')).current()
    const raw = await new Promise<{ head: string; bytes: number }>((resolve, reject) => {
      const options = { host: '127.0.0.1', port: peer!.peer.port, servername: `${peer!.peer.node}.node.insitu.build` }
      const tls = connect({ ...options, cert, key, ca, ALPNProtocols: ['http/1.1'] })
      let head = ''
      let bytes = 0
      tls.on('error', reject)
      tls.on('data', (chunk: Buffer) => {
        bytes += chunk.length
        if (head.length < 2000) head += chunk.toString('latin1')
      })
      tls.on('end', () => resolve({ head, bytes }))
      const repository = name.slice(name.indexOf('/') + 1, name.lastIndexOf(':'))
      tls.write(
        `GET /v2/${repository}/blobs/${image.layers[0]}?ns=registry.example.test HTTP/1.1\r\nhost: x\r\naccept-encoding: zstd\r\nconnection: close\r\n\r\n`,
      )
    })
    expect(raw.head.toLowerCase()).toContain('content-encoding: zstd')
    expect(raw.bytes).toBeLessThan(MiB)
    await pull(name)
  })
})

describe('containerd’s configuration', () => {
  it('tells where it looks for registries', async () => {
    const asked = { address: socket, pid: undefined, hostRoot: '/' }
    expect(await registryDirectories(asked)).toEqual([join(node.directory, 'certs.d')])
  })

  it('is as it was when the mirror leaves', async () => {
    const directories = [join(node.directory, 'certs.d')]
    expect(await removeMirror({ directories, hostRoot: '/' })).toHaveLength(2)
    expect(await readdir(directories[0] ?? '')).toEqual(['real.test'])
    expect(await readFile(join(directories[0] ?? '', 'real.test/hosts.toml'), 'utf8')).toMatch(/^server = .*\n$/)
    await rm(directories[0] ?? '', { recursive: true, force: true })
  })
})
