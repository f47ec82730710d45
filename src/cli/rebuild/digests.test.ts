import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, it, onTestFinished } from 'vitest'
import { credentialsIn } from './credentials.ts'
import { currentDigest, type RegistryOptions } from './digests.ts'
import { forwardProxy } from '../../../test/unit/forward-proxy.ts'
import { sha } from '../../../test/unit/rebuild-sketch.ts'

let server: Server | undefined
afterEach(() => new Promise<void>((resolve) => (server ? server.close(() => resolve()) : resolve())))

interface Answer {
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

/** A registry that answers as told. */
async function registry(answer: (request: IncomingMessage, url: string) => Answer): Promise<string> {
  const started = createServer((request, response) => {
    const { status = 200, headers = {}, body = '' } = answer(request, url())
    response.writeHead(status, headers).end(body)
  })
  const url = (): string => `http://127.0.0.1:${(started.address() as AddressInfo).port}`
  server = started
  const { promise, resolve } = Promise.withResolvers<void>()
  started.listen(0, '127.0.0.1', resolve)
  await promise
  return url()
}

const ask = (url: string, name = 'r.io/team/a:1', files: readonly string[] = [], more: Partial<RegistryOptions> = {}) =>
  currentDigest(name, {
    ...{ registries: new Map([['r.io', url]]), credentials: credentialsIn(files), proxies: {}, ...more },
    signal: new AbortController().signal,
  })
const login = JSON.stringify({ auths: { 'https://r.io/v1/': { username: 'me', password: 'secret' } } })

describe('what a name points to', () => {
  it('is asked with HEAD, for indexes and manifests', async () => {
    const url = await registry(({ method, url: path, headers }) =>
      method === 'HEAD' && path === '/v2/team/a/manifests/1' && headers.accept?.includes('image.index')
        ? { headers: { 'docker-content-digest': sha('a') } }
        : { status: 500 },
    )
    expect(await ask(url)).toEqual({ digest: sha('a') })
  })

  it('is computed where the registry does not say it', async () => {
    const url = await registry(() => ({ body: '{}' }))
    expect(await ask(url)).toEqual({
      digest: 'sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a',
    })
  })

  it('is not computed from what is no manifest', async () => {
    const url = await registry(({ method }) => (method === 'HEAD' ? {} : { status: 429, body: 'too many' }))
    expect(await ask(url)).toEqual({ error: expect.stringContaining('HTTP 429') as string })
  })

  it('takes a token, which it asks for with user and password', async () => {
    const url = await registry(({ url: path = '', headers }, self) => {
      if (path.startsWith('/token')) {
        const right = headers.authorization === `Basic ${Buffer.from('me:secret').toString('base64')}`
        const scope = new URL(path, self).searchParams.get('scope')
        return right && scope === 'repository:team/a:pull' ? { body: '{"token":"t"}' } : { status: 401 }
      }
      if (headers.authorization === 'Bearer t') return { headers: { 'docker-content-digest': sha('a') } }
      return { status: 401, headers: { 'www-authenticate': `Bearer realm="${self}/token",service="r"` } }
    })
    expect(await ask(url, undefined, [login])).toEqual({ digest: sha('a') })
    expect(await ask(url)).toEqual({ error: expect.stringContaining('other credentials') as string })
  })

  it('takes basic authentication', async () => {
    const url = await registry(({ headers }) =>
      headers.authorization?.startsWith('Basic ')
        ? { headers: { 'docker-content-digest': sha('b') } }
        : { status: 401, headers: { 'www-authenticate': 'Basic realm="r"' } },
    )
    expect(await ask(url, undefined, ['broken', login])).toEqual({ digest: sha('b') })
  })

  it('is not known where it is gone, or nobody answers: without the password in the sentence', async () => {
    expect(await ask(await registry(() => ({ status: 404 })))).toEqual({
      error: 'r.io/team/a:1 is not in its registry any more',
    })
    const silent = await ask('http://127.0.0.1:1', undefined, [login])
    expect(silent).toEqual({ error: expect.stringContaining('cannot be asked') as string })
    expect(JSON.stringify(silent)).not.toContain('secret')
  })

  it('is asked where a registry sends us, without the credentials that are for that one', async () => {
    const seen: unknown[] = []
    const other = createServer(({ url, headers }, response) => {
      seen.push([url, headers.authorization])
      response.writeHead(200, { 'docker-content-digest': sha('c') }).end()
    })
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => void other.close())
    const location = `http://127.0.0.1:${(other.address() as AddressInfo).port}/there`
    const url = await registry(({ headers }) =>
      headers.authorization === undefined
        ? { status: 401, headers: { 'www-authenticate': 'Basic realm="r"' } }
        : { status: 307, headers: { location } },
    )
    expect(await ask(url, undefined, [login])).toEqual({ digest: sha('c') })
    expect(seen).toEqual([['/there', undefined]])
    const circle = await registry((_, self) => ({ status: 302, headers: { location: `${self}/again` } }))
    expect(await ask(circle)).toEqual({ error: expect.stringContaining('HTTP 302') as string })
  })

  it('is asked through the proxy of the environment, tokens too', async () => {
    const url = await registry(({ url: path = '', headers }) => {
      if (path.startsWith('/token')) return { body: '{"token":"t"}' }
      if (headers.authorization === 'Bearer t') return { body: '{}' }
      return { status: 401, headers: { 'www-authenticate': 'Bearer realm="http://tokens.test/token",service="r"' } }
    })
    const port = Number(new URL(url).port)
    const proxy = await forwardProxy({ ports: { 'r.test': port, 'tokens.test': port }, login: 'u:s3cret' })
    const through = (proxies: RegistryOptions['proxies'], name = 'http://r.test') =>
      ask(name, undefined, [], { proxies, timeout: 2000 })
    expect(await through({ http_proxy: proxy.url })).toMatchObject({ digest: expect.stringMatching(/^sha256:44136f/) })
    expect(proxy.requests).toEqual([
      'HEAD http://r.test/v2/team/a/manifests/1',
      'GET http://tokens.test/token?service=r&scope=repository%3Ateam%2Fa%3Apull',
      'HEAD http://r.test/v2/team/a/manifests/1',
      'GET http://r.test/v2/team/a/manifests/1',
    ])
    const excepted = await through({ HTTP_PROXY: proxy.url, NO_PROXY: 'r.test' })
    expect(excepted).toEqual({ error: expect.stringContaining('ENOTFOUND') as string })
    const refused = await through({ HTTPS_PROXY: proxy.url }, 'https://unknown.test')
    expect(refused).toEqual({ error: expect.stringContaining('502') as string })
    const silent = await forwardProxy({ silent: true })
    const late = await through({ HTTPS_PROXY: silent.url }, 'https://r.test')
    expect(late).toEqual({ error: expect.stringContaining('does not answer') as string })
    const broken = await through({ HTTPS_PROXY: 'http://u:s3cret#' }, 'https://r.test')
    expect(broken).toEqual({ error: expect.stringContaining('proxy is not a URL') as string })
    expect(JSON.stringify([refused, broken])).not.toContain('s3cret')
  })
})
