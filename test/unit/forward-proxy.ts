import { createServer, type IncomingMessage, request } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { onTestFinished } from 'vitest'

/** A proxy on loopback that knows names that nobody else does: only through it their servers can be reached. */
export interface ForwardProxy {
  /** `http://127.0.0.1:PORT`, with user and password where it wants them. */
  readonly url: string
  /** What it was asked for so far: `GET http://name/path`, `CONNECT name:443`. */
  readonly requests: readonly string[]
}

export interface ForwardProxyOptions {
  /** Where a name's server listens on loopback, whatever port is asked for. */
  readonly ports?: Readonly<Record<string, number>>
  /** `user:password` */
  readonly login?: string
  /** It takes connections and never answers. */
  readonly silent?: boolean
}

/** Ends with the test. */
export async function forwardProxy({ ports = {}, login, silent }: ForwardProxyOptions): Promise<ForwardProxy> {
  const requests: string[] = []
  const sockets = new Set<Socket>()
  const allowed = ({ headers }: IncomingMessage): boolean =>
    login === undefined || headers['proxy-authorization'] === `Basic ${Buffer.from(login).toString('base64')}`
  const server = createServer((incoming, response) => {
    requests.push(`${incoming.method} ${incoming.url}`)
    if (silent === true) return
    const { hostname, pathname, search } = new URL(incoming.url ?? '')
    const port = ports[hostname]
    if (!allowed(incoming) || port === undefined) return void response.writeHead(allowed(incoming) ? 502 : 407).end()
    const { method, headers } = incoming
    const onward = request({ host: '127.0.0.1', port, path: pathname + search, method, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 500, answer.headers)
      answer.pipe(response)
    })
    incoming.pipe(onward)
  })
  server.on('connection', (socket) => sockets.add(socket))
  server.on('connect', (incoming: IncomingMessage, socket: Socket) => {
    requests.push(`CONNECT ${incoming.url}`)
    socket.on('error', () => undefined)
    if (silent === true) return
    const port = ports[new URL(`http://${incoming.url}`).hostname]
    if (!allowed(incoming)) return void socket.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n')
    if (port === undefined) return void socket.end('HTTP/1.1 502 Unknown Name\r\n\r\n')
    const onward = connect(port, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n')
      socket.pipe(onward).pipe(socket)
    })
    onward.on('error', () => socket.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  const user = login === undefined ? '' : `${login}@`
  return { url: `http://${user}127.0.0.1:${(server.address() as AddressInfo).port}`, requests }
}
