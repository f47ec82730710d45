import { createServer } from 'node:https'
import { agentPaths } from '../../../src/api/agent-api.ts'
import { agentServerName } from '../../../src/api/certificate.ts'
import type { ImageInventory } from '../../../src/api/images.ts'
import { namespace, ports } from '../../../src/api/names.ts'
import { ensureAuthority } from '../../../src/gateway/certificate/authority.ts'
import type { KubernetesClient } from '../../../src/kernel/k8s/client.ts'
import { issueLeaf } from '../../../src/kernel/tls/ca.ts'
import { createKeyPair } from '../../../src/kernel/tls/key.ts'

/** Where all agents of the made-up cluster are: a loopback address each. */
export const agentAddress = (i: number): string => `127.${1 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`

/** Images that each agent says were built on its node. */
const built = 3

/**
 * Answers for all agents at once: their inventories, and nothing to everything else. A gateway asks every agent when it
 * starts; agents that nobody answers for would be asked again and again.
 */
export async function startAgents(client: KubernetesClient): Promise<{ close(): Promise<void> }> {
  const { signing } = await ensureAuthority({ client, namespace })
  const { privateKey, publicKey } = await createKeyPair()
  const leaf = await issueLeaf({
    ...{ authority: signing, publicKey, commonName: 'agents' },
    dnsNames: [agentServerName('*')],
  })
  const server = createServer(
    { cert: leaf.cert, key: privateKey, ALPNProtocols: ['http/1.1'] },
    (request, response) => {
      const { localAddress = '' } = request.socket
      const images = Array.from({ length: built }, (_, i) => ({
        name: `registry.example.test/built/${localAddress}-${i}:v1`,
        digest: `sha256:${'0'.repeat(64)}`,
        version: i,
      }))
      const inventory: ImageInventory = { node: localAddress, revision: 1, images }
      request.resume()
      response.setHeader('content-type', 'application/json')
      response.end(JSON.stringify(request.url === agentPaths.images ? inventory : {}))
    },
  )
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(ports.agent, '0.0.0.0', resolve))
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
