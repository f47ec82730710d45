import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** A TCP proxy that counts what clients send. */
export async function countedProxy(target: string) {
  const [host = '', port = ''] = target.split(':')
  let sent = 0
  const open = new Set<Socket>()
  const server = createServer((client) => {
    const upstream = connect(Number(port), host)
    // A proxy that keeps small packets back costs 40 ms wherever somebody writes two of them in turn.
    client.setNoDelay(true)
    upstream.setNoDelay(true)
    for (const [side, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      open.add(side)
      side.on('error', () => other.destroy())
      side.once('close', () => open.delete(side))
      side.pipe(other)
    }
    client.on('data', (chunk) => (sent += chunk.length))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    address: `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`,
    sent: () => sent,
    close() {
      server.close()
      for (const socket of open) socket.destroy()
    },
  }
}
