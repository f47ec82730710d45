import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { expect, it } from 'vitest'
import { createAuthority, issueLeaf } from '../tls/ca.ts'
import { createKeyPair } from '../tls/key.ts'
import { jsonSession } from './json-session.ts'

/** A host that is on its way out: it takes connections and says nothing. */
async function mute() {
  const sockets: Socket[] = []
  const server = createServer((socket) => sockets.push(socket.on('error', () => undefined).resume()))
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const authority = await createAuthority()
  const pair = await createKeyPair()
  const { cert } = await issueLeaf({ authority, publicKey: pair.publicKey, commonName: 'x', uris: ['spiffe://x/y'] })
  return {
    sockets,
    session: (patience?: number) =>
      jsonSession({
        ...{ host: '127.0.0.1', port: (server.address() as AddressInfo).port, serverName: 'x' },
        tls: { cert, key: pair.privateKey, ca: authority.cert },
        ...(patience === undefined ? {} : { patience }),
      }),
    [Symbol.dispose]: () => void server.close(),
  }
}

it('lets go of a server that does not answer when it is closed', async () => {
  using server = await mute()
  const session = server.session()
  await expect.poll(() => server.sockets.length).toBe(1)
  session.close()
  expect(session.open).toBe(false)
  await expect(session.connected).rejects.toThrow('closed')
  await expect.poll(() => server.sockets[0]?.destroyed).toBe(true)
})

it('gives up a server that does not answer in time', async () => {
  using server = await mute()
  const session = server.session(200)
  await expect(session.connected).rejects.toThrow('closed')
  expect(session.open).toBe(false)
  await expect.poll(() => server.sockets[0]?.destroyed).toBe(true)
})
