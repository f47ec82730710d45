import { createServer, type Socket } from 'node:net'
import { rm } from 'node:fs/promises'
import { connect } from 'node:tls'
import type { TlsSource } from '../../kernel/tls/material.ts'

/** Where the gateway listens. */
export type Target = { readonly host: string; readonly port: number } | { readonly path: string }

export interface LocalSocketOptions {
  /** Path; the directory must be ours alone, because who can connect builds in our name. */
  readonly path: string
  readonly target: Target
  readonly serverName: string
  readonly tls: Pick<TlsSource, 'current'>
  readonly onFailure: (message: string) => void
}

/** A plaintext socket in front of the gateway: each connection goes there over TLS, with the certificate of the moment. */
export async function serveLocally(options: LocalSocketOptions): Promise<{ close(): Promise<void> }> {
  const open = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true }, (client) => {
    const { cert, key, ca } = options.tls.current()
    const secure = connect({
      ...options.target,
      ...{ cert, key, ca, servername: options.serverName },
      ...{ ALPNProtocols: ['h2'], minVersion: 'TLSv1.3', allowHalfOpen: true },
    })
    for (const end of [client, secure]) {
      open.add(end)
      end.setNoDelay?.(true)
      end.once('close', () => {
        open.delete(end)
        client.destroy()
        secure.destroy()
      })
    }
    client.on('error', () => client.destroy())
    secure.on('error', (error) => options.onFailure(`the gateway cannot be reached: ${error.message}`))
    client.pipe(secure).pipe(client)
  })
  await rm(options.path, { force: true })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.path, resolve)
  })
  return {
    async close() {
      await new Promise<void>((resolve) => {
        server.close(() => resolve())
        for (const end of open) end.destroy()
      })
      await rm(options.path, { force: true })
    },
  }
}
