import { once } from 'node:events'
import { createServer as createHttps } from 'node:https'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { agentServerName } from '../../api/certificate.ts'
import { createAuthority, issueLeaf } from '../../kernel/tls/ca.ts'
import { createKeyPair } from '../../kernel/tls/key.ts'
import type { TlsMaterial } from '../../kernel/tls/material.ts'
import { createAgentCalls } from './agent-calls.ts'

let tls: TlsMaterial
const servers: Server[] = []

beforeAll(async () => {
  const authority = await createAuthority()
  const { privateKey: key, publicKey } = await createKeyPair()
  const commonName = 'one'
  const { cert } = await issueLeaf({ authority, publicKey, commonName, dnsNames: [agentServerName('one')] })
  tls = { cert, key, ca: authority.cert }
})
afterAll(() => {
  for (const server of servers) server.close()
})

async function callsTo(server: Server) {
  servers.push(server)
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  return createAgentCalls({
    peer: (node) => ({ node, host: '127.0.0.1', port }),
    tls: { current: () => tls, onChange: () => () => undefined },
    connecting: 200,
  })
}

test('an agent that is there may take its time to take names back', async () => {
  const slow = createHttps(tls, (_, response) => void setTimeout(() => response.end('{}'), 500))
  const calls = await callsTo(slow)
  await expect(calls.retract('one', ['app'], 1)).resolves.toBeUndefined()
})

test('who waits for it does not wait for a node that is switched off', async () => {
  const off = createServer((socket) => void socket.on('error', () => socket.destroy()))
  const calls = await callsTo(off)
  await expect(calls.retract('one', ['app'], 1)).rejects.toThrow('no connection within 0.2 s')
}, 10_000)
