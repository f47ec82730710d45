import { readFile } from 'node:fs/promises'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { expect, test } from 'vitest'
import { createFixedDirectory } from '../../../src/gateway/directory/fixed.ts'
import { listen } from '../../../src/gateway/listener/listener.ts'
import { createLogger } from '../../../src/kernel/log.ts'
import { until } from '../fixtures/until.ts'

const hex = (port: number): string => port.toString(16).toUpperCase().padStart(4, '0')

/**
 * Whether the kernel has armed a timer on the idle socket from one local port to another: `tr` 02 in /proc/net/tcp is
 * keepalive's (01 would be a retransmission).
 */
async function probed(local: number, remote: number): Promise<boolean> {
  const pattern = new RegExp(`:${hex(local)} [0-9A-F]+:${hex(remote)} 01 0{8}:0{8} 02:`)
  return (await Promise.all(['tcp', 'tcp6'].map((f) => readFile(`/proc/net/${f}`, 'utf8')))).some((t) =>
    pattern.test(t),
  )
}

test('a client that vanished without a word is noticed by the kernel', async () => {
  const listener = await listen({
    addresses: [{ kind: 'tcp', host: '127.0.0.1', port: 0 }],
    onConnection: () => undefined,
    logger: createLogger({ level: 'silent' }),
  })
  const port = listener.addresses[0]?.kind === 'tcp' ? listener.addresses[0].port : 0
  const client = await new Promise<Socket>((resolve) => {
    const socket = connect(port, '127.0.0.1', () => resolve(socket))
  })
  await until('keepalive at the gateway', () => probed(port, client.localPort ?? 0))
  client.destroy()
  await listener.close()
})

test('so is a fixed node', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await until('the node', () => server.listening)
  const { port } = server.address() as AddressInfo
  const node = createFixedDirectory([{ name: 'a', address: { host: '127.0.0.1', port } }]).nodes()[0]
  const socket = (await node?.dial()) as Socket
  expect(socket.remotePort).toBe(port)
  await until('keepalive at the gateway', () => probed(socket.localPort ?? 0, port))
  socket.destroy()
  server.close()
})
