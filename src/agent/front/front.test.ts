import { mkdtemp, rm } from 'node:fs/promises'
import { request } from 'node:https'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { once } from 'node:events'
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { agentServerName, spiffe } from '../../api/certificate.ts'
import { createLogger } from '../../kernel/log.ts'
import { type Authority, createAuthority, issueLeaf } from '../../kernel/tls/ca.ts'
import { createKeyPair } from '../../kernel/tls/key.ts'
import type { TlsMaterial, TlsSource } from '../../kernel/tls/material.ts'
import { type Front, startFront } from './front.ts'
import { type Handler, readJson, sendJson } from './handlers.ts'
import { proxyVariables } from '../../buildkit/proxy.ts'

const gateway = spiffe('buildkit-system', 'insitu-gateway')
const agentUri = spiffe('buildkit-system', 'insitu-agent')
const serverName = agentServerName('node1')
const table: readonly Handler[] = [
  {
    ...{ methods: ['GET'], path: '/v1/proxy', allow: ['gateway'] },
    handle: (_, response) => sendJson(response, 200, { HTTPS_PROXY: 'http://proxy:3128' }),
  },
  {
    ...{ methods: ['GET', 'HEAD'], path: '/v2/', allow: ['gateway', 'agent'] },
    handle: (_, response, { identity, url }) => sendJson(response, 200, [identity, url.pathname]),
  },
  {
    ...{ methods: ['POST'], path: '/v1/built', allow: ['gateway'] },
    handle: async (request, response) => sendJson(response, 200, await readJson(request)),
  },
]

let directory: string
let authority: Authority
let material: TlsMaterial
let client: TlsMaterial
let listeners: ((material: TlsMaterial) => void)[] = []
let daemon: Server
let daemonSockets: Socket[] = []
let front: Front

async function leaf(ca: Authority, names: { uris?: string[]; dnsNames?: string[] }): Promise<TlsMaterial> {
  const pair = await createKeyPair()
  const issued = await issueLeaf({ authority: ca, publicKey: pair.publicKey, commonName: 'x', ...names })
  return { cert: issued.cert, key: pair.privateKey, ca: authority.cert }
}

const source: TlsSource = {
  current: () => material,
  onChange(listener) {
    listeners.push(listener)
    return () => {
      listeners = listeners.filter((one) => one !== listener)
    }
  },
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'insitu-front-'))
  authority = await createAuthority()
  material = await leaf(authority, { dnsNames: [serverName] })
  client = await leaf(authority, { uris: [gateway] })
  // Stands for buildkitd at the other end of the pipe: it sends back what it gets, after the end of it.
  daemon = createServer({ allowHalfOpen: true }, (socket) => {
    daemonSockets.push(socket)
    const got: Buffer[] = []
    socket.on('error', () => undefined)
    socket.on('data', (chunk) => got.push(chunk))
    socket.on('end', () => socket.end(Buffer.concat(got)))
  })
  daemon.listen(join(directory, 'daemon.sock'))
  front = await startFront({
    host: '127.0.0.1',
    port: 0,
    tls: source,
    client: gateway,
    socket: join(directory, 'daemon.sock'),
    peer: agentUri,
    handlers: () => table,
    log: createLogger({ level: 'silent' }),
  })
})

afterEach(() => {
  for (const socket of daemonSockets) socket.destroy()
  daemonSockets = []
})

afterAll(async () => {
  await front.close()
  daemon.close()
  await rm(directory, { recursive: true })
})

const options = (more: ConnectionOptions = {}): ConnectionOptions => ({
  ...{ host: '127.0.0.1', port: front.port, servername: serverName, ...client },
  ...more,
})
const open = async (more: ConnectionOptions = {}): Promise<TLSSocket> => {
  const socket = connect({ ...options(more), allowHalfOpen: true } as ConnectionOptions)
  await once(socket, 'secureConnect')
  return socket
}
const ask = (
  who: TlsMaterial,
  path: string,
  method = 'GET',
  sent?: string,
): Promise<{ status: number | undefined; body: unknown }> =>
  new Promise((resolve, reject) => {
    const outgoing = request(
      { ...options({ ...who, ALPNProtocols: ['http/1.1'] }), path, method, agent: false },
      (answer) => {
        let body = ''
        answer.on('data', (chunk) => (body += String(chunk)))
        answer.on('end', () =>
          resolve({ status: answer.statusCode, body: body === '' ? undefined : (JSON.parse(body) as unknown) }),
        )
      },
    )
    outgoing.on('error', reject).end(sent)
  })
/** Settles when the peer has cut the connection, with the error if there was one. */
const cut = (socket: TLSSocket): Promise<string> =>
  new Promise((resolve) => {
    let reason = 'closed'
    socket.on('error', (error) => (reason = error.message))
    socket.on('end', () => resolve('ended'))
    socket.on('close', () => resolve(reason))
    socket.resume()
  })

describe('the port for gateways', () => {
  it('answers what is no address as a bad request, to agents as well, and goes on', async () => {
    const agent = await leaf(authority, { uris: [agentUri] })
    expect(await ask(agent, '//')).toMatchObject({ status: 400 })
    expect(await ask(agent, '/v2/')).toMatchObject({ status: 200 })
  })

  it.each([['h2'], [undefined]])(
    'pipes megabytes to the daemon and back after a half close, ALPN %s',
    async (protocol) => {
      const socket = await open(protocol === undefined ? {} : { ALPNProtocols: [protocol] })
      expect(socket.alpnProtocol).toBe(protocol ?? false)
      const sent = Buffer.alloc(8 * 2 ** 20, 'insitu')
      socket.end(sent)
      const got: Buffer[] = []
      for await (const chunk of socket) got.push(chunk as Buffer)
      expect(Buffer.concat(got).equals(sent)).toBe(true)
    },
  )

  it('answers its own API for http/1.1, and nothing else there', async () => {
    const { status, body } = await ask(client, '/v1/proxy')
    expect([status, body]).toEqual([200, { HTTPS_PROXY: 'http://proxy:3128' }])
    expect((await ask(client, '/v1/other')).status).toBe(404)
    expect((await ask(client, '/v2')).status).toBe(404)
    expect((await ask(client, '/v1/proxy', 'POST')).status).toBe(405)
    expect((await ask(client, '/v2/app/manifests/1?ns=x')).body).toEqual(['gateway', '/v2/app/manifests/1'])
    expect((await ask(client, '/v1/built', 'POST', '{"images":[]}')).body).toEqual({ images: [] })
    expect(await ask(client, '/v1/built', 'POST', '{')).toMatchObject({
      status: 400,
      body: { error: expect.stringContaining('not JSON') as string },
    })
    expect(daemonSockets).toHaveLength(0)
  })

  it('lets other agents call what says so, and never buildkitd', async () => {
    const other = await leaf(authority, { uris: [agentUri] })
    expect((await ask(other, '/v2/')).body).toEqual(['agent', '/v2/'])
    expect((await ask(other, '/v1/proxy')).status).toBe(403)
    for (const protocols of [['h2'], undefined]) {
      await cut(connect(options({ ...other, ...(protocols ? { ALPNProtocols: protocols } : {}) })))
    }
    expect(daemonSockets).toHaveLength(0)
  })

  it('cuts off everybody whose certificate is not the gateway’s', async () => {
    const other = await leaf(authority, { uris: [spiffe('buildkit-system', 'default')] })
    const stranger = await leaf(await createAuthority(), { uris: [gateway] })
    const disguised = await leaf(authority, { uris: [`${gateway}2`], dnsNames: ['gateway'] })
    for (const material of [other, stranger, disguised, { cert: undefined, key: undefined, ca: authority.cert }]) {
      const socket = connect(options(material))
      await cut(socket)
    }
    expect(daemonSockets).toHaveLength(0)
  })

  it('cuts connections at once when the daemon is gone, and when the client is', async () => {
    const socket = await open({ ALPNProtocols: ['h2'] })
    socket.write('x')
    await expect.poll(() => daemonSockets.length).toBe(1)
    const ended = cut(socket)
    daemonSockets[0]?.destroy()
    await ended
    const second = await open({ ALPNProtocols: ['h2'] })
    second.write('x')
    await expect.poll(() => daemonSockets.length).toBe(2)
    second.destroy()
    await expect.poll(() => daemonSockets[1]?.closed).toBe(true)
  })

  it('keeps what comes before the next daemon listens, for a while', async () => {
    const path = join(directory, 'later.sock')
    const waiting = (patience: number): Promise<Front> =>
      startFront({
        ...{ host: '127.0.0.1', port: 0, tls: source, client: gateway, socket: path, handlers: () => table },
        ...{ log: createLogger({ level: 'silent' }), patience },
      })
    const [patient, hasty] = await Promise.all([waiting(20_000), waiting(0)])
    const later = createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket))
    try {
      await cut(connect(options({ port: hasty.port, ALPNProtocols: ['h2'] })))
      const early = await open({ port: patient.port, ALPNProtocols: ['h2'] })
      early.end('came early')
      later.listen(path)
      const got: Buffer[] = []
      for await (const chunk of early) got.push(chunk as Buffer)
      expect(Buffer.concat(got).toString()).toBe('came early')
    } finally {
      await Promise.all([patient.close(), hasty.close()])
      later.close()
    }
  })

  it('cuts off a gateway from whose host nothing comes any more, for daemons do not notice', async () => {
    const waiting = createServer((socket) => socket.on('error', () => undefined).resume())
    const path = join(directory, 'waiting.sock')
    waiting.listen(path)
    const watching = await startFront({
      ...{ host: '127.0.0.1', port: 0, tls: source, client: gateway, socket: path, handlers: () => table },
      ...{ log: createLogger({ level: 'silent' }), vanished: { interval: 100, patience: 20 } },
    })
    const at = (localAddress: string, protocol: string): ConnectionOptions & { localAddress: string } => ({
      ...{ port: watching.port, localAddress, ALPNProtocols: [protocol] },
    })
    const from = (host: string) => open(at(host, 'h2'))
    const [silent, asks, sends] = await Promise.all([from('127.0.0.2'), from('127.0.0.3'), from('127.0.0.4')])
    const life = setInterval(() => {
      sends.write('x')
      request({ ...options(at('127.0.0.3', 'http/1.1')), path: '/v1/proxy', agent: false }, (answer) => answer.resume())
        .on('error', () => undefined)
        .end()
    }, 200)
    try {
      await cut(silent)
      expect([asks.destroyed, sends.destroyed]).toEqual([false, false])
      clearInterval(life)
      await Promise.all([cut(asks), cut(sends)])
    } finally {
      clearInterval(life)
      await watching.close()
      waiting.close()
    }
  })

  it('takes a new certificate without ending connections', async () => {
    const running = await open({ ALPNProtocols: ['h2'] })
    const before = running.getPeerX509Certificate()?.serialNumber
    material = await leaf(authority, { dnsNames: [serverName] })
    for (const listener of listeners) listener(material)
    const fresh = await open({ ALPNProtocols: ['h2'] })
    expect(fresh.getPeerX509Certificate()?.serialNumber).not.toBe(before)
    fresh.destroy()
    running.end('still here')
    const got: Buffer[] = []
    for await (const chunk of running) got.push(chunk as Buffer)
    expect(Buffer.concat(got).toString()).toBe('still here')
  })
})

describe('proxy variables', () => {
  it('are those of either case, and no others', () => {
    const env = {
      http_proxy: 'a',
      HTTPS_PROXY: 'b',
      No_Proxy: 'c',
      PATH: '/bin',
      HTTP_PROXY: undefined,
      MY_HTTP_PROXY: 'd',
    }
    expect(proxyVariables(env)).toEqual({ http_proxy: 'a', HTTPS_PROXY: 'b', No_Proxy: 'c' })
  })
})
