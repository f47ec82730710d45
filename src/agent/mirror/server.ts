import { timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { sendError } from './answer.ts'
import { tokenHeader } from './hosts-block.ts'

export interface MirrorServerOptions {
  readonly host?: string
  /** 0 takes a free one. */
  readonly port: number
  /** What containerd shows; everybody else is refused. Undefined: no one is. */
  readonly token: string | undefined
  /** Who may use a connection; refused ones get a 403. Default everybody. */
  readonly admits?: (socket: Socket) => Promise<boolean>
  readonly handle: (request: IncomingMessage, response: ServerResponse) => Promise<void>
}

export interface MirrorServer {
  readonly port: number
  close(): Promise<void>
}

/**
 * The registry for this node's containerd, plain HTTP. Other pods may reach its port, so it asks for the secret of hosts.toml;
 * or, where a client cannot show one, for who it is.
 */
export async function startMirrorServer(options: MirrorServerOptions): Promise<MirrorServer> {
  const { admits = () => Promise.resolve(true) } = options
  const open = new Map<Socket, Promise<boolean>>()
  const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
    void (async () => {
      const known = options.token === undefined || same(request.headers[tokenHeader], options.token)
      if (known && (await open.get(request.socket)) === true) return options.handle(request, response)
      return sendError(response, 403, 'DENIED', 'this registry is for the containerd of its node')
    })()
  })
  server.on('connection', (socket) => {
    socket.setNoDelay(true)
    const admitted = admits(socket).catch(() => false)
    open.set(socket, admitted)
    socket.on('close', () => open.delete(socket))
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port, options.host, resolve)
  })
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const socket of open.keys()) socket.destroy()
      }),
  }
}

function same(given: string | string[] | undefined, token: string): boolean {
  const [a, b] = [Buffer.from(typeof given === 'string' ? given : ''), Buffer.from(token)]
  return a.length === b.length && timingSafeEqual(a, b)
}
