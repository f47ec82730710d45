import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { agentServerName } from '../../../src/api/certificate.ts'
import { namespace } from '../../../src/api/names.ts'
import { ensureAuthority } from '../../../src/gateway/certificate/authority.ts'
import { issueLeaf } from '../../../src/kernel/tls/ca.ts'
import { createKeyPair } from '../../../src/kernel/tls/key.ts'
import { startApiServer } from '../../integration/fixtures/apiserver.ts'
import type { Buildkitd } from '../../integration/fixtures/buildkitd.ts'
import { createCluster } from '../../integration/fixtures/cluster.ts'
import { until } from '../../integration/fixtures/until.ts'
import { podLike } from '../place/pod.ts'
import { type Door, gatewayPort, insitu, start } from './doors.ts'

/** A loopback address that no test uses: the agents' port is always the same. */
const host = (i: number): string => `127.77.0.${i + 1}`

/** A daemon behind an agent's port, as the only one of its node. */
export interface AgentNode {
  readonly name: string
  readonly daemon: Buildkitd
  /** What it runs natively. Default: amd64. */
  readonly platforms?: readonly string[]
}

/** Ours as in a cluster: a gateway that watches an API server, mutual TLS, the agent's port, the daemon's socket. */
export const openThroughAgent = (daemon: Buildkitd): Promise<Door> =>
  openThroughAgents('insitu + agent', [{ name: 'bench', daemon }])

/** The same with several nodes. */
export async function openThroughAgents(name: string, nodes: readonly AgentNode[]): Promise<Door> {
  const server = await startApiServer()
  const client = await server.client()
  const cluster = createCluster(client)
  await cluster.namespace(namespace)
  const { signing, bundle } = await ensureAuthority({ client, namespace })
  const directory = await mkdtemp(join(tmpdir(), 'insitu-front-'))
  const fronts: Awaited<ReturnType<typeof startFront>>[] = []
  for (const [i, node] of nodes.entries()) {
    const { privateKey, publicKey } = await createKeyPair()
    const dnsNames = [agentServerName(node.name)]
    const leaf = await issueLeaf({ authority: signing, publicKey, commonName: 'agent', dnsNames })
    const own = await mkdtemp(join(directory, 'node-'))
    fronts.push(await startFront(host(i), node.daemon, own, { cert: leaf.cert, key: privateKey, ca: bundle }))
    const platforms = node.platforms ?? ['linux/amd64']
    await cluster.node(node.name, { arch: platforms[0]?.split('/')[1] ?? 'amd64' })
    await cluster.agent(node.name, node.platforms ? { platforms, nativePlatforms: platforms } : {}, host(i))
  }
  const pod = await podLike(server)
  const args = ['gateway', '--listen', 'tcp://127.0.0.1:0', '--probes', '0', '--log-level', 'info']
  const gateway = start(pod.command, [...pod.args, insitu, ...args], pod.env)
  const port = await gatewayPort(gateway)
  return {
    name,
    address: `127.0.0.1:${port}`,
    pid: gateway.child.pid,
    also: fronts[0]?.child.pid,
    async stop() {
      await gateway.stop()
      await Promise.all(fronts.map((front) => front.stop()))
      client.close()
      await pod.close()
      await server.close()
      await rm(directory, { recursive: true, force: true })
    },
  }
}

async function startFront(at: string, daemon: Buildkitd, directory: string, files: Readonly<Record<string, string>>) {
  for (const [file, text] of Object.entries(files)) await writeFile(join(directory, file), text)
  const paths = Object.keys(files).flatMap((file) => [`--${file}`, join(directory, file)])
  const flags = [
    '--disable-warning=ExperimentalWarning',
    ...['--external-memory-accounted-in-global-limit', '--initial-heap-size=32', '--max-semi-space-size=1'],
  ]
  const script = join(import.meta.dirname, 'agent-front.ts')
  const front = start('node', [...flags, script, '--host', at, '--socket', daemon.socket, ...paths])
  await until('the agent to listen', () => {
    if (front.child.exitCode !== null) throw new Error(`the agent ended: ${front.output()}`)
    return front.output().includes('listening')
  })
  return front
}
