import { execFile } from 'node:child_process'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { criPuller, type Puller, transferPuller } from '../../src/agent/delivery/puller.ts'
import { putMirror } from '../../src/agent/mirror/certs.ts'
import { registryDirectories } from '../../src/agent/mirror/config-path.ts'
import { type Mirror, startMirror } from '../../src/agent/mirror/mirror.ts'
import { containerdCall } from '../../src/agent/host/containerd-call.ts'
import { type Authority, createAuthority } from '../../src/kernel/tls/ca.ts'
import { startNode, type TestNode } from './fixtures/containerd.ts'
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
import { sketchImage } from './fixtures/oci-image.ts'
import { until } from './fixtures/until.ts'

const exec = promisify(execFile)
const token = 'a-secret-of-the-node'
let node: TestNode
let mirror: Mirror
let gateways: TestGateways
let authority: Authority
let peer: TestPeer | undefined
let pullers: Readonly<Record<string, Puller>>
let next = 0

beforeAll(async () => {
  node = await startNode()
  const socket = `/proc/${node.pid}/root/run/containerd/containerd.sock`
  authority = await createAuthority()
  gateways = testGateways()
  const net = 100 + (process.pid % 50)
  const link = `ip${process.pid}`
  await exec('ip', ['link', 'add', link, 'type', 'veth', 'peer', 'name', 'out', 'netns', String(node.pid)])
  await exec('ip', ['address', 'add', `10.98.${net}.1/24`, 'dev', link])
  await exec('ip', ['link', 'set', link, 'up'])
  await node.ok('ip', ['address', 'add', `10.98.${net}.2/24`, 'dev', 'out'])
  await node.ok('ip', ['link', 'set', 'out', 'up'])
  mirror = await startMirror({
    containerdRoot: join(node.directory, 'containerd'),
    containerd: containerdCall(socket, 'k8s.io'),
    tls: agentTls(authority, 'puller'),
    ...{ records: testRecords(), gateways, token, port: 0, host: `10.98.${net}.1`, log: silent },
  })
  const host = { url: `http://10.98.${net}.1:${mirror.server.port}`, token }
  const own = join(node.directory, 'own')
  await mkdir(own)
  const directories = await registryDirectories({ address: socket, pid: undefined, hostRoot: '/' })
  await putMirror({ directories, hostRoot: '/' }, host)
  await putMirror({ directories: [own], hostRoot: '/' }, host)
  const shared = { socket, namespace: 'k8s.io' }
  pullers = {
    cri: criPuller(shared),
    transfer: transferPuller({ ...shared, hostsDirectory: own, snapshotter: 'overlayfs' }),
  }
})
afterEach(async () => {
  await peer?.close()
  peer = undefined
})
afterAll(async () => {
  await mirror?.close()
  await node?.stop()
})

/** An image that another node has and a gateway knows. */
async function publish(layers: readonly number[]): Promise<{ name: string; digest: string }> {
  const name = `registry.example.test/pull/app${next++}:latest`
  const image = await sketchImage(node.directory, name, { layers })
  const root = join(node.directory, `peer${next}`)
  await layOut(root, image.blobs)
  peer = await startPeer({ authority, node: `worker-${next}`, root })
  const built = { name, digest: image.digest, version: 1 }
  peer.records.set(built)
  const from = peer.peer
  gateways.answer('one', () => ({ state: 'here', image: built, peers: [from] }))
  return built
}

describe.each(['cri', 'transfer'])('by %s', (kind) => {
  it('an image of another node comes with its digest, unpacked', async () => {
    const { name, digest } = await publish([200_000, 5 << 20])
    await pullers[kind]?.(name, new AbortController().signal)
    expect(await node.ctr(['images', 'ls', `name==${name}`])).toContain(digest)
    expect(await node.ctr(['images', 'check', `name==${name}`])).toMatch(/complete.*true/)
    expect(mirror.received()).toBeGreaterThan(5 << 20)
  })

  it('a pull that nobody waits for any more ends', async () => {
    const { name } = await publish([64 << 20])
    const abort = new AbortController()
    const pulled = pullers[kind]?.(name, abort.signal)
    await until('bytes to flow', () => (peer?.streams() ?? 0) > 1)
    abort.abort(new Error('nobody waits'))
    await expect(pulled).rejects.toThrow('nobody waits')
  })
})
