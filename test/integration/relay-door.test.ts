import { randomUUID } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { connect as connectSecure } from 'node:tls'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { spiffe } from '../../src/api/certificate.ts'
import { buildIdHeader, paths } from '../../src/buildkit/methods.ts'
import { type GrpcConnection as Grpc, grpcConnection } from '../../src/kernel/grpc/connection.ts'
import { fieldOf } from '../../src/kernel/grpc/wire.ts'
import type { TlsMaterial, TlsSource } from '../../src/kernel/tls/material.ts'
import { type Authority, createAuthority, issueLeaf } from '../../src/kernel/tls/ca.ts'
import { createKeyPair } from '../../src/kernel/tls/key.ts'
import { type Buildkitd, startBuildkitd } from './fixtures/buildkitd.ts'
import { buildctl, startClient } from './fixtures/clients.ts'
import { createWorkspace, type Workspace } from './fixtures/context.ts'
import { startGateway, type TestGateway } from './fixtures/gateway.ts'
import { until } from './fixtures/until.ts'

let daemon: Buildkitd
let work: Workspace
let authority: Authority
let server: ReturnType<typeof replaceable>
let gateway: TestGateway

const strict = { plaintext: { loopback: false, namespaces: [], cidrs: [] } }

beforeAll(async () => {
  work = await createWorkspace()
  daemon = await startBuildkitd()
  authority = await createAuthority()
  server = replaceable(await material(authority))
  gateway = await startGateway({ nodes: { one: daemon }, tls: server.source, config: strict })
})

afterAll(async () => {
  await gateway?.close()
  await daemon?.stop()
  await work?.remove()
})

async function material(
  ca: Authority,
  uris: readonly string[] = [],
  now = new Date(),
  lifetime?: number,
): Promise<TlsMaterial> {
  const { privateKey, publicKey } = await createKeyPair()
  const names = {
    dnsNames: ['localhost'],
    ipAddresses: ['127.0.0.1'],
    uris,
    ...(lifetime === undefined ? {} : { lifetime }),
  }
  const { cert } = await issueLeaf({ authority: ca, publicKey, commonName: 'test', now, ...names })
  return { cert, key: privateKey, ca: ca.cert }
}

/** Certificates that a test exchanges while the gateway runs. */
function replaceable(first: TlsMaterial): { source: TlsSource; replace(next: TlsMaterial): void } {
  let current = first
  const listeners = new Set<(next: TlsMaterial) => void>()
  return {
    source: {
      current: () => current,
      onChange(listener) {
        listeners.add(listener)
        return () => listeners.delete(listener)
      },
    },
    replace(next) {
      current = next
      for (const listener of listeners) listener(next)
    },
  }
}

async function tlsArgs(client: TlsMaterial | undefined, ca = authority.cert): Promise<string[]> {
  const directory = await work.directory()
  const write = async (name: string, text: string): Promise<string> => {
    await writeFile(join(directory, name), text)
    return join(directory, name)
  }
  const args = ['--tlscacert', await write('ca.pem', ca), '--tlsservername', 'localhost']
  if (client)
    args.push('--tlscert', await write('cert.pem', client.cert), '--tlskey', await write('key.pem', client.key))
  return args
}

test('a client certificate names a service account, and the whole build goes through TLS', async () => {
  const context = await work.context('RUN echo over-tls\n')
  const client = await material(authority, [spiffe('team', 'builder')])
  const result = await buildctl(gateway.address, context, [], { global: await tlsArgs(client) }).ended
  expect(result, result.output).toMatchObject({ exitCode: 0 })
  expect(gateway.log()).toContain('"caller":"service account team/builder"')
})

test('buildx, which offers no ALPN, builds through TLS', async () => {
  const context = await work.context('RUN echo over-tls-with-buildx\n')
  const [, ca, , name, , cert, , key] = await tlsArgs(await material(authority, [spiffe('team', 'builder')]))
  const env = { BUILDX_CONFIG: await work.directory() }
  const options = `cacert=${ca},cert=${cert},key=${key},servername=${name}`
  const create = ['create', '--name=x', '--driver=remote', `--driver-opt=${options}`, gateway.address]
  const created = await startClient('buildx', create, { env }).ended
  expect(created, created.output).toMatchObject({ exitCode: 0 })
  const build = ['build', '--builder=x', '--progress=plain', '-o', 'type=cacheonly', context]
  const result = await startClient('buildx', build, { env }).ended
  expect(result, result.output).toMatchObject({ exitCode: 0 })
})

test('without a certificate, with an expired one, or in plaintext from elsewhere the client is told what to do', async () => {
  const context = await work.context('RUN true\n')
  const refused = async (global: string[]): Promise<string> => {
    const result = await buildctl(gateway.address, context, [], { global }).ended
    expect(result.exitCode).toBe(1)
    expect(result.output).toContain('Unauthenticated')
    return result.output
  }
  expect(await refused([])).toContain('may not build here without a client certificate')
  expect(await refused(await tlsArgs(undefined))).toContain('may not build here without a client certificate')
  const expired = await material(authority, [spiffe('team', 'builder')], new Date(Date.now() - 3 * 86_400_000))
  expect(await refused(await tlsArgs(expired))).toContain('the client certificate is refused')
  const agent = await material(authority, [spiffe('buildkit-system', 'insitu-agent')])
  expect(await refused(await tlsArgs(agent))).toContain('the client certificate is refused')
})

test('a connection does not outlive its certificate; a build that runs comes to its end', async () => {
  const client = await material(authority, [spiffe('team', 'builder')], new Date(), 15_000)
  const connectTls = () => connectSecure({ ...client, port: gateway.port, host: '127.0.0.1', servername: 'localhost' })
  const [idle, busy] = [0, 1].map(() => grpcConnection({ name: 'door', connect: connectTls })) as [Grpc, Grpc]
  const workers = (by: Grpc) => by.unary({ method: paths.listWorkers }).catch((error: unknown) => String(error))
  const ref = randomUUID()
  const bridge = (method: string, request = new Uint8Array()) =>
    busy.unary({ method, metadata: { [buildIdHeader]: ref }, request })
  try {
    const build = busy.unary({ method: paths.solve, request: fieldOf(1, ref), timeout: 60_000 })
    await bridge(paths.bridgePing)
    expect(await workers(idle)).not.toContain('certificate')
    await until('the certificate to end', async () => String(await workers(busy)).includes('has ended'))
    expect(await workers(idle)).toContain('the client certificate is refused')
    const another = busy.unary({ method: paths.solve, request: fieldOf(1, randomUUID()) })
    await expect(another).rejects.toMatchObject({ status: 'UNAUTHENTICATED' })
    await bridge(paths.bridgePing)
    await bridge(paths.bridgeReturn, Uint8Array.of(0x0a, 0))
    await build
  } finally {
    idle.close()
    busy.close()
  }
})

test('new certificates are used for new connections while the old ones live on', async () => {
  const next = await createAuthority()
  const before = await material(authority)
  server.replace(await material(next))
  try {
    const context = await work.context('RUN echo renewed\n')
    const client = await material(next, [spiffe('team', 'builder')])
    const result = await buildctl(gateway.address, context, [], { global: await tlsArgs(client, next.cert) }).ended
    expect(result, result.output).toMatchObject({ exitCode: 0 })
  } finally {
    server.replace(before)
  }
})

test('what is neither HTTP/2 nor TLS is cut off at once', async () => {
  for (const greeting of ['GET / HTTP/1.1\r\nHost: x\r\n\r\n', '\0\0\0\0', 'PRI * HTTP/1.0\r\n\r\n']) {
    const socket = await open(gateway.port)
    const started = performance.now()
    socket.write(greeting, 'latin1')
    await closed(socket)
    expect(performance.now() - started, JSON.stringify(greeting)).toBeLessThan(5000)
  }
})

test('a client that says nothing is cut off', async () => {
  const socket = await open(gateway.port)
  const half = await open(gateway.port)
  half.write('PRI * HT')
  await Promise.all([closed(socket), closed(half)])
  expect(socket.bytesRead + half.bytesRead).toBe(0)
}, 120_000)

const open = (port: number): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => resolve(socket))
    socket.once('error', reject)
  })

const closed = (socket: Socket): Promise<void> =>
  new Promise((resolve) => {
    socket.on('error', () => undefined)
    socket.once('close', () => resolve())
    socket.resume()
  })
