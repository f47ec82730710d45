import { chmod, rename, rm, stat } from 'node:fs/promises'
import { connect as connectPlain, createServer, type Socket } from 'node:net'
import { basename, dirname, join } from 'node:path'
import { connect } from 'node:tls'
import { InsituError } from '../../kernel/errors.ts'
import type { TlsSource } from '../../kernel/tls/material.ts'

/** Where the gateway listens. */
export type Target = { readonly host: string; readonly port: number } | { readonly path: string }

export interface LocalSocketOptions {
  /** Path; nobody else may write to its directory or connect: who can builds in our name. */
  readonly path: string
  readonly target: Target
  readonly serverName: string
  readonly tls: Pick<TlsSource, 'current'>
  readonly onFailure: (message: string) => void
}

/**
 * A plaintext socket in front of the gateway: each connection goes there over TLS, with the certificate of the moment.
 * @throws InsituError SOCKET_IN_USE
 */
export async function serveLocally(options: LocalSocketOptions): Promise<{ close(): Promise<void> }> {
  const { path } = options
  await refuseServed(path)
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
  // A server that is closed removes the path it was opened at, whosever that is by then: it never has this one. As long as
  // the path itself, so that one that is too long for a socket fails here.
  const opened = join(dirname(path), `.${process.pid}`.padEnd(basename(path).length, '-'))
  await rm(opened, { force: true })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(opened, resolve)
  })
  await chmod(opened, 0o600)
  const own = await inodeOf(opened)
  await rename(opened, path)
  return {
    async close() {
      await new Promise<void>((resolve) => {
        server.close(() => resolve())
        for (const end of open) end.destroy()
      })
      if ((await inodeOf(path)) === own) await rm(path, { force: true })
    },
  }
}

/** @throws InsituError SOCKET_IN_USE when somebody answers there; what one that was killed has left is no hindrance. */
export async function refuseServed(path: string): Promise<void> {
  const served = await new Promise<boolean>((resolve) => {
    const probe = connectPlain(path)
    probe.once('connect', () => {
      probe.destroy()
      resolve(true)
    })
    probe.once('error', () => resolve(false))
  })
  if (!served) return
  throw new InsituError('SOCKET_IN_USE', `another insitu connect serves ${path}`, {
    status: 'FAILED_PRECONDITION',
    fix: 'use that socket, end the other one, or name another directory with --directory',
  })
}

const inodeOf = (path: string): Promise<bigint | undefined> =>
  stat(path, { bigint: true }).then(
    ({ ino }) => ino,
    () => undefined,
  )
