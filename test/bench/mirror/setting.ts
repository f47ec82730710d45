import { execFile } from 'node:child_process'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { containerdCall } from '../../../src/agent/host/containerd-call.ts'
import { putMirror, removeMirror } from '../../../src/agent/mirror/certs.ts'
import { startMirror } from '../../../src/agent/mirror/mirror.ts'
import { unary } from '../../../src/kernel/grpc/unary.ts'
import { fieldOf } from '../../../src/kernel/grpc/wire.ts'
import { type Authority, createAuthority } from '../../../src/kernel/tls/ca.ts'
import { startNode, type TestNode } from '../../integration/fixtures/containerd.ts'
import {
  agentTls,
  silent,
  type TestGateways,
  testGateways,
  testRecords,
} from '../../integration/fixtures/mirror-peers.ts'
import { type Registry, startRegistry } from '../../integration/fixtures/registry.ts'
import { rootBucket } from '../link.ts'

export const token = 'bench'
/** The registry whose images are pulled. */
export const domain = 'bench.test'
const [host, inside] = ['10.98.199.1', '10.98.199.2']

/** A real containerd in a network namespace of its own, docker-registry beside it, and the mirror in this process. */
export interface Setting {
  readonly node: TestNode
  readonly authority: Authority
  readonly gateways: TestGateways
  /** Of the mirror. */
  readonly url: string
  readonly host: string
  readonly registry: Registry
  /** Puts the mirror in front of the registry, or takes it away. */
  configure(mirror: boolean): Promise<void>
  /** From now on registry and mirror send so many Mbit/s to the node together. @returns what ends it. */
  limit(rate: number): Promise<() => Promise<unknown>>
  /** As a kubelet. */
  pull(name: string): Promise<void>
  /** Takes the image away with all it has. */
  drop(name: string): Promise<void>
  /** Milliseconds of processor time so far: of containerd, and of this process with the mirror. */
  processor(): Promise<{ readonly containerd: number; readonly mirror: number }>
  close(): Promise<void>
}

const exec = promisify(execFile)

export async function openSetting(): Promise<Setting> {
  const node = await startNode()
  const certs = join(node.directory, 'certs.d')
  const socket = `/proc/${node.pid}/root/run/containerd/containerd.sock`
  const link = `ib${process.pid}`
  await exec('ip', ['link', 'add', link, 'type', 'veth', 'peer', 'name', 'out', 'netns', String(node.pid)])
  await exec('ip', ['address', 'add', `${host}/24`, 'dev', link])
  await exec('ip', ['link', 'set', link, 'up'])
  await node.ok('ip', ['address', 'add', `${inside}/24`, 'dev', 'out'])
  await node.ok('ip', ['link', 'set', 'out', 'up'])
  const authority = await createAuthority()
  const gateways = testGateways()
  gateways.answer('one', () => ({ state: 'none' }))
  const mirror = await startMirror({
    ...{ containerdRoot: join(node.directory, 'containerd'), containerd: containerdCall(socket, 'k8s.io') },
    ...{ tls: agentTls(authority, 'puller'), records: testRecords(), gateways, token, port: 0, host, log: silent },
  })
  const url = `http://${host}:${mirror.server.port}`
  const registry = await startRegistry({ host })
  await mkdir(join(certs, domain), { recursive: true })
  const server = `http://${registry.address}`
  const hosts = `server = "${server}"\n\n[host."${server}"]\n  capabilities = ["pull", "resolve"]\n`
  await writeFile(join(certs, domain, 'hosts.toml'), hosts)
  const asked = ['--ns', String(node.pid), '--nslist', 'pid', '-x', 'containerd']
  const daemon = Number((await exec('pgrep', asked)).stdout)
  return {
    ...{ node, authority, gateways, url, host, registry },
    async configure(on) {
      if (on) await putMirror({ directories: [certs], hostRoot: '/' }, { url, token })
      else await removeMirror({ directories: [certs], hostRoot: '/' })
    },
    async limit(rate) {
      await exec('tc', ['qdisc', 'add', 'dev', link, ...rootBucket(rate)])
      return () => exec('tc', ['qdisc', 'del', 'dev', link, 'root'])
    },
    async pull(name) {
      const request = fieldOf(1, fieldOf(1, name))
      await unary({ socket, method: '/runtime.v1.ImageService/PullImage', request, timeout: 600_000 })
    },
    async drop(name) {
      const digest = /sha256:[0-9a-f]{64}/.exec(await node.ctr(['images', 'ls', `name==${name}`]))?.[0] ?? name
      const names = (await node.ctr(['images', 'ls', '-q', `target.digest==${digest}`])).split('\n').filter(Boolean)
      await node.ctr(['images', 'rm', '--sync', ...names])
    },
    async processor() {
      const { user, system } = process.cpuUsage()
      return { containerd: await processorOf(daemon), mirror: (user + system) / 1000 }
    },
    async close() {
      await registry.stop()
      await mirror.close()
      await node.stop()
    },
  }
}

/** proc_pid_stat(5): user and system time, 100 ticks a second. */
async function processorOf(pid: number): Promise<number> {
  const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).replace(/^.*\) /, '').split(' ')
  return (Number(fields[11]) + Number(fields[12])) * 10
}
