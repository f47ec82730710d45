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

const node = 'bench'
/** A loopback address that no test uses: the agents' port is always the same. */
const host = '127.77.0.1'

/** Ours as in a cluster: a gateway that watches an API server, mutual TLS, the agent's port, the daemon's socket. */
export async function openThroughAgent(daemon: Buildkitd): Promise<Door> {
  const server = await startApiServer()
  const client = await server.client()
  const cluster = createCluster(client)
  await cluster.namespace(namespace)
  const { signing, bundle } = await ensureAuthority({ client, namespace })
  const { privateKey, publicKey } = await createKeyPair()
  const leaf = await issueLeaf({
    ...{ authority: signing, publicKey, commonName: 'agent' },
    dnsNames: [agentServerName(node)],
  })
  const directory = await mkdtemp(join(tmpdir(), 'insitu-front-'))
  const files = { cert: leaf.cert, key: privateKey, ca: bundle }
  for (const [name, text] of Object.entries(files)) await writeFile(join(directory, name), text)
  const paths = Object.keys(files).flatMap((name) => [`--${name}`, join(directory, name)])
  const flags = ['--disable-warning=ExperimentalWarning', '--max-semi-space-size=1']
  const script = join(import.meta.dirname, 'agent-front.ts')
  const front = start('node', [...flags, script, '--host', host, '--socket', daemon.socket, ...paths])
  await until('the agent to listen', () => {
    if (front.child.exitCode !== null) throw new Error(`the agent ended: ${front.output()}`)
    return front.output().includes('listening')
  })
  await cluster.node(node)
  await cluster.agent(node, {}, host)
  const pod = await podLike(server)
  const args = ['gateway', '--listen', 'tcp://127.0.0.1:0', '--probes', '0', '--log-level', 'info']
  const gateway = start(pod.command, [...pod.args, insitu, ...args], pod.env)
  const port = await gatewayPort(gateway)
  return {
    name: 'insitu + agent',
    address: `127.0.0.1:${port}`,
    pid: gateway.child.pid,
    also: front.child.pid,
    async stop() {
      await gateway.stop()
      await front.stop()
      client.close()
      await pod.close()
      await server.close()
      await rm(directory, { recursive: true, force: true })
    },
  }
}
