import { createHash, generateKeyPairSync } from 'node:crypto'
import { createServer, type RequestListener } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { describe, expect, onTestFinished, test } from 'vitest'
import { describeError } from '../../kernel/errors.ts'
import type { ProxyVariables } from '../../buildkit/proxy.ts'
import { createAuthority, issueLeaf } from '../../kernel/tls/ca.ts'
import { pushIndex, readPushed } from './push-index.ts'
import { findSchemes, type PushOptions } from './registries.ts'
import { askRegistry } from './registry-request.ts'
import { forwardProxy } from '../../../test/unit/forward-proxy.ts'

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => server.close().closeAllConnections())
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

test('a token server’s answer that cannot be read is not quoted: it may hold a token', async () => {
  const asked: (string | undefined)[] = []
  const tokens = await serve((request, response) => {
    asked.push(request.headers.authorization)
    response.end('{"token":s3cret-token}')
  })
  const registry = await serve((_, response) => {
    response.writeHead(401, { 'www-authenticate': `Bearer realm="http://${tokens}/token",service="r"` }).end()
  })
  const index = { mediaType: 'application/vnd.oci.image.index.v1+json', digest: 'sha256:1', bytes: Buffer.from('{}') }
  const error: unknown = await pushIndex(index, {
    ...{ names: [`${registry}/team/app:1`], byDigest: false, insecure: false, plainHttp: [], proxies: {} },
    credentials: {
      token: () => Promise.resolve(undefined),
      basic: () => Promise.resolve({ username: 'team', secret: 'hunter2' }),
    },
    signal: new AbortController().signal,
  }).catch((thrown: unknown) => thrown)
  expect(asked).toEqual([`Basic ${Buffer.from('team:hunter2').toString('base64')}`])
  expect(error).toMatchObject({ code: 'PUSH', message: expect.stringContaining('answers 401') as string })
  expect(describeError(error)).not.toMatch(/s3cret|hunter/)
})

test('an answer without end is read as far as it counts', async () => {
  const registry = await serve((_, response) => {
    const more = (): void => {
      while (response.writable && response.write(Buffer.alloc(64 << 10, 'x')));
    }
    response.on('drain', more)
    more()
  })
  const signal = new AbortController().signal
  const options = { method: 'GET', headers: {}, insecure: false, proxies: {}, signal } as const
  const { status, body } = await askRegistry(new URL(`http://${registry}/v2/`), options)
  expect(status).toBe(200)
  expect(body.length).toBeLessThanOrEqual(256 << 10)
})

test('one name gets its index at once; several get it when all their registries have it', async () => {
  const asked: string[] = []
  const registry = await serve((request, response) => {
    asked.push(`${request.method} ${request.url}`)
    request.resume().on('end', () => response.writeHead(201).end())
  })
  const index = { mediaType: 'application/vnd.oci.image.index.v1+json', digest: 'sha256:1', bytes: Buffer.from('{}') }
  const put = (names: readonly string[], byDigest = false): Promise<void> =>
    pushIndex(index, {
      ...{
        names: names.map((name) => `${registry}/${name}`),
        byDigest,
        insecure: true,
        plainHttp: [registry],
        proxies: {},
      },
      ...{ credentials: undefined, signal: new AbortController().signal },
    })
  await put(['a:1'])
  expect(asked.splice(0)).toEqual(['PUT /v2/a/manifests/1'])
  await put(['a:1'], true)
  expect(asked.splice(0)).toEqual(['PUT /v2/a/manifests/sha256:1'])
  await put(['a:1', 'b:2'])
  expect(asked).toEqual([
    ...['PUT /v2/a/manifests/sha256:1', 'PUT /v2/b/manifests/sha256:1'],
    ...['PUT /v2/a/manifests/1', 'PUT /v2/b/manifests/2'],
  ])
})

describe('a registry that fails for a moment', () => {
  const index = { mediaType: 'application/vnd.oci.image.index.v1+json', digest: 'sha256:1', bytes: Buffer.from('{}') }
  const push = async (first: RequestListener, signal = new AbortController().signal) => {
    const bodies: string[] = []
    const registry = await serve((request, response) => {
      const chunks: Buffer[] = []
      request.on('data', (chunk: Buffer) => chunks.push(chunk))
      request.on('end', () => {
        bodies.push(Buffer.concat(chunks).toString())
        if (bodies.length === 1) first(request, response)
        else response.writeHead(201).end()
      })
    })
    const options = { names: [`${registry}/a:1`], byDigest: false, insecure: false, plainHttp: [], proxies: {} }
    const error: unknown = await pushIndex(index, { ...options, credentials: undefined, signal }).catch(
      (e: unknown) => e,
    )
    return { bodies, error }
  }

  test('is asked again after a second: one that is busy, or ends the connection', async () => {
    const moments: readonly RequestListener[] = [
      (_, response) => void response.writeHead(503).end(),
      (_, response) => void response.writeHead(429).end(),
      (request) => void request.socket.destroy(),
    ]
    const started = performance.now()
    expect(await Promise.all(moments.map((first) => push(first)))).toEqual(
      moments.map(() => ({ bodies: ['{}', '{}'], error: undefined })),
    )
    expect(performance.now() - started).toBeGreaterThan(900)
  })

  test('is not asked again when it has refused, or for a client that is gone', async () => {
    const refused = await push((_, response) => void response.writeHead(400).end())
    expect(refused).toMatchObject({ bodies: ['{}'], error: { code: 'PUSH' } })
    const gone = new AbortController()
    const { bodies, error } = await push((_, response) => {
      response.writeHead(500).end(() => setTimeout(() => gone.abort(new Error('the client is gone')), 50))
    }, gone.signal)
    expect(bodies).toHaveLength(1)
    expect(error).toBe(gone.signal.reason)
  })
})

test('how a registry is spoken to is asked before, once for each of them', async () => {
  const options = {
    ...{ insecure: true, proxies: {}, signal: new AbortController().signal },
    ...{ plainHttp: ['r.test:5000'], names: ['r.test:5000/a:1', 'r.test:5000/b:1', 'localhost:9/c:1'] },
  }
  const schemes = findSchemes(options)
  expect([...schemes.keys()]).toEqual(['r.test:5000', 'localhost:9'])
  expect(await Promise.all(schemes.values())).toEqual(['http', 'http'])
  expect(await findSchemes({ ...options, insecure: false, names: ['r.test/a:1'] }).get('r.test')).toBe('https')
})

test('what a node has pushed is read with the credentials of the client, and only if it is that', async () => {
  const text = '{"manifests":[]}'
  const digest = `sha256:${createHash('sha256').update(text).digest('hex')}`
  const login = `Basic ${Buffer.from('team:hunter2').toString('base64')}`
  const registry = await serve((request, response) => {
    if (request.headers.authorization !== login) {
      return void response.writeHead(401, { 'www-authenticate': 'Basic realm="r"' }).end()
    }
    if (request.url === `/v2/team/app/manifests/${digest}`) return void response.end(text)
    response.writeHead(request.url?.endsWith('sha256:other') ? 200 : 404).end('{}')
  })
  const mediaType = 'application/vnd.oci.image.index.v1+json'
  const read = (of: string): Promise<string> =>
    readPushed(
      { digest: of, mediaType },
      {
        ...{ names: [`${registry}/team/app:1`], byDigest: false, insecure: false, plainHttp: [], proxies: {} },
        credentials: {
          token: () => Promise.resolve(undefined),
          basic: () => Promise.resolve({ username: 'team', secret: 'hunter2' }),
        },
        signal: new AbortController().signal,
      },
    )
  expect(await read(digest)).toBe(text)
  await expect(read('sha256:other')).rejects.toThrow('something else than sha256:other')
  await expect(read('sha256:none')).rejects.toThrow('answers 404')
})

describe('a registry that is behind a proxy', () => {
  const index = { mediaType: 'application/vnd.oci.image.index.v1+json', digest: 'sha256:1', bytes: Buffer.from('{}') }
  const secured = async () => {
    const authority = await createAuthority()
    const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const leaf = await issueLeaf({
      ...{ authority, commonName: 'r.test', dnsNames: ['r.test'] },
      publicKey: pair.publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    })
    const asked: string[] = []
    const server = createSecureServer(
      { cert: leaf.cert, key: pair.privateKey.export({ type: 'pkcs8', format: 'pem' }) },
      (request, response) => {
        asked.push(`${request.method} ${request.url}`)
        request.resume().on('end', () => response.writeHead(201).end())
      },
    )
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => server.close().closeAllConnections())
    return { asked, port: (server.address() as AddressInfo).port }
  }
  const push = (proxies: ProxyVariables, more: Partial<PushOptions> = {}): Promise<unknown> =>
    pushIndex(index, {
      ...{ names: ['r.test:8443/a:1'], byDigest: false, insecure: true, plainHttp: [], credentials: undefined },
      ...{ signal: new AbortController().signal, proxies },
      ...more,
    }).catch((thrown: unknown) => thrown)

  test('gets the index through it, with TLS to the registry', async () => {
    const { asked, port } = await secured()
    const proxy = await forwardProxy({ ports: { 'r.test': port }, login: 'u:s3cret' })
    expect(await push({ HTTPS_PROXY: proxy.url })).toBeUndefined()
    expect([asked, new Set(proxy.requests)]).toEqual([
      ['GET /v2/', 'PUT /v2/a/manifests/1'],
      new Set(['CONNECT r.test:8443']),
    ])
    // The registry's certificate counts, as without a proxy.
    const unknown = await push({ HTTPS_PROXY: proxy.url }, { insecure: false })
    expect(describeError(unknown)).toMatch(/cannot be pushed: .*certificate/)
    // Names that are excepted, with a range for one that is an address, are asked without it.
    const before = proxy.requests.length
    expect(describeError(await push({ HTTPS_PROXY: proxy.url, NO_PROXY: '.svc,r.test' }))).toContain('ENOTFOUND')
    const names = ['127.0.0.2:1/a:1']
    const near = { HTTP_PROXY: proxy.url, HTTPS_PROXY: proxy.url, NO_PROXY: '192.0.2.0/24' }
    expect(describeError(await push(near, { names, insecure: false }))).toContain('ECONNREFUSED')
    expect(proxy.requests).toHaveLength(before)
  })

  test('is not reached where the proxy refuses, which is said without its password', async () => {
    const proxy = await forwardProxy({ login: 'u:s3cret' })
    const said = describeError(await push({ HTTPS_PROXY: proxy.url }, { insecure: false }))
    expect(said).toContain('502')
    const wrong = describeError(await push({ HTTPS_PROXY: proxy.url.replace('u:', 'v:') }, { insecure: false }))
    expect(wrong).toContain('407')
    expect(said + wrong).not.toMatch(/s3cret|dTpzM2NyZXQ/)
  })

  test('is waited for no longer than the client is there, also by a proxy that says nothing', async () => {
    const proxy = await forwardProxy({ silent: true })
    const gone = new AbortController()
    const pushed = push({ HTTPS_PROXY: proxy.url }, { insecure: false, signal: gone.signal })
    await expect.poll(() => proxy.requests).toEqual(['CONNECT r.test:8443'])
    gone.abort(new Error('the client is gone'))
    expect(await pushed).toBe(gone.signal.reason)
  })
})
