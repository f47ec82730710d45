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
  readonly handle: (request: IncomingMessage, response: ServerResponse) => Promise<void>
}

export interface MirrorServer {
  readonly port: number
  close(): Promise<void>
}

/** The registry for this node's containerd, plain HTTP. Other pods may reach its port, so it asks for the secret of hosts.toml. */
export async function startMirrorServer(options: MirrorServerOptions): Promise<MirrorServer> {
  const open = new Set<Socket>()
  const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
    if (options.token !== undefined && !same(request.headers[tokenHeader], options.token)) {
      return sendError(response, 403, 'DENIED', 'this registry is for the containerd of its node')
    }
    void options.handle(request, response)
  })
  server.on('connection', (socket) => {
    socket.setNoDelay(true)
    open.add(socket)
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
        for (const socket of open) socket.destroy()
      }),
  }
}

function same(given: string | string[] | undefined, token: string): boolean {
  const [a, b] = [Buffer.from(typeof given === 'string' ? given : ''), Buffer.from(token)]
  return a.length === b.length && timingSafeEqual(a, b)
}
