import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { HttpAnswer } from '../../../kernel/http/answer.ts'
import { createLogger } from '../../../kernel/log.ts'
import type { OriginClient, OriginRequest } from './ask-origin.ts'
import { createOrdinary } from './ordinary.ts'
import { nodeAuthorities, type OriginHost, originHosts } from './origin-hosts.ts'
import { publicManifests } from './public-manifests.ts'

const log = createLogger({ level: 'silent' })
const digest = `sha256:${'a'.repeat(64)}`
const layer = `sha256:${'b'.repeat(64)}`

describe('the servers of a registry', () => {
  let root: string
  const hosts = (registry: string) => originHosts(registry, { directories: ['/none', '/certs.d'], hostRoot: root })
  const write = async (name: string, text: string): Promise<void> => {
    await mkdir(join(root, 'certs.d', name), { recursive: true })
    await writeFile(join(root, 'certs.d', name, 'hosts.toml'), text)
  }
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'insitu-origin-'))
    await mkdir(join(root, 'etc/ssl/certs'), { recursive: true })
    await writeFile(join(root, 'etc/ssl/certs/ca-certificates.crt'), 'of the node')
  })
  afterAll(() => rm(root, { recursive: true }))

  it('are its own where nothing is said', async () => {
    const plain = { ca: undefined, insecure: false }
    expect(await hosts('r.test:5000')).toEqual([{ base: 'https://r.test:5000/v2', ...plain }])
    expect(await hosts('docker.io')).toEqual([{ base: 'https://registry-1.docker.io/v2', ...plain }])
    expect(await hosts('localhost:5000')).toEqual([{ base: 'http://localhost:5000/v2', ...plain }])
    expect(await nodeAuthorities(root)).toBe('of the node')
  })

  it('are those of its hosts.toml, without ourselves and those to which the node identifies itself', async () => {
    await writeFile(join(root, 'own.crt'), 'of the registry')
    const ours = '# insitu: begin (mode 644, new 0, directories 0)\n[host."http://127.0.0.1:2378"]\n# insitu: end\n'
    const lines = [
      'server = "https://r.test/prefix"',
      'ca = "/own.crt"',
      ours,
      '[host."https://mirror.test"]\ncapabilities = ["pull", "resolve"]\nskip_verify = true',
      '[host."https://pulls.test"]\ncapabilities = ["pull"]',
      '[host."https://knows.test"]\nclient = "/c.pem"',
      '[host."https://told.test"]\n[host."https://told.test".header]\nauthorization = "Basic x"',
      '[host."https://odd.test/registry"]\noverride_path = true',
    ]
    await write('r.test_5000_', lines.join('\n'))
    await write('_default', 'server = "https://fallback.test"')
    expect(await hosts('r.test:5000')).toEqual([
      { base: 'https://mirror.test/v2', ca: undefined, insecure: true },
      { base: 'https://odd.test/registry', ca: undefined, insecure: false },
      { base: 'https://r.test/prefix/v2', ca: 'of the registry', insecure: false },
    ])
    expect((await hosts('other.test')).map(({ base }) => base)).toEqual(['https://fallback.test/v2'])
  })
})

describe('what a registry gives to everybody', () => {
  const host: OriginHost = { base: 'https://r.test/v2', ca: undefined, insecure: false }
  const found = { 'docker-content-digest': digest, 'content-type': 'a/b; charset=x', 'content-length': '5' }
  const answer = (status: number, headers: HttpAnswer['headers'] = {}, body = ''): HttpAnswer => ({
    ...{ status, headers, body },
  })
  const bearer = answer(401, { 'www-authenticate': 'Bearer realm="https://t.test/token",service="r"' })

  function registry(respond: (url: URL, request: OriginRequest) => HttpAnswer | Error, hosts = [host]) {
    const asked: string[] = []
    const state = { now: 0 }
    const client: OriginClient = {
      ask(url, _, request) {
        asked.push(`${request.method} ${url.href} ${request.headers['authorization'] ?? ''}`.trim())
        const said = respond(url, request)
        return said instanceof Error ? Promise.reject(said) : Promise.resolve(said)
      },
      close: () => undefined,
    }
    const manifests = publicManifests({ client, hosts: () => Promise.resolve(hosts), log, now: () => state.now })
    return { head: (reference = 'v1') => manifests.head('r.test/team/app', reference, '*/*'), asked, state }
  }

  it('is told by its answer to a HEAD without credentials', async () => {
    const { head, asked } = registry(() => answer(200, found))
    expect(await head()).toEqual({ digest, mediaType: 'a/b', size: 5 })
    expect(asked).toEqual(['HEAD https://r.test/v2/team/app/manifests/v1'])
    expect(await head(layer)).toBeUndefined()
    const { head: silent } = registry(() => answer(200, { ...found, 'docker-content-digest': undefined }))
    expect(await silent()).toBeUndefined()
    expect(await silent(digest)).toMatchObject({ digest })
  })

  it('may need a token that anybody gets, which is used again until it is old', async () => {
    const { head, asked, state } = registry((url, { headers }) => {
      if (url.host === 't.test') return answer(200, {}, '{"access_token":"t","expires_in":100}')
      return headers['authorization'] === 'Bearer t' ? answer(200, found) : bearer
    })
    expect(await head()).toMatchObject({ digest })
    expect(await head()).toMatchObject({ digest })
    const token = 'GET https://t.test/token?service=r&scope=repository%3Ateam%2Fapp%3Apull'
    expect(asked.filter((line) => line.startsWith('GET'))).toEqual([token])
    state.now = 81_000
    await head()
    expect(asked.filter((line) => line === token)).toHaveLength(2)
  })

  it.each([
    ['a password is asked for', () => answer(401, { 'www-authenticate': 'Basic realm="r"' })],
    ['it refuses', () => answer(403)],
    ['nobody gets a token', (url: URL) => (url.host === 't.test' ? answer(401) : bearer)],
    ['the token is not enough', (url: URL) => (url.host === 't.test' ? answer(200, {}, '{"token":"t"}') : bearer)],
    ['the token cannot be read', (url: URL) => (url.host === 't.test' ? answer(200, {}, '{"tok') : bearer)],
    ['it is out of order', () => answer(500)],
    ['it sends in circles', () => answer(307, { location: '/again' })],
  ])('is nothing when %s', async (_, respond) => expect(await registry(respond).head()).toBeUndefined())

  it('is asked at the next server only for what the first one does not have', async () => {
    const other = { ...host, base: 'https://second.test/v2' }
    const at = (first: HttpAnswer) =>
      registry((url) => (url.host === 'r.test' ? first : answer(200, found)), [host, other])
    expect(await at(answer(404)).head()).toMatchObject({ digest })
    expect(await at(answer(403)).head()).toBeUndefined()
  })

  it('follows a redirect, without the token for somebody else', async () => {
    const { head, asked } = registry((url, { headers }) => {
      if (url.host === 't.test') return answer(200, {}, '{"token":"t"}')
      if (url.host === 'cdn.test') return answer(200, found)
      return headers['authorization'] === undefined ? bearer : answer(307, { location: 'https://cdn.test/x' })
    })
    expect(await head()).toMatchObject({ digest })
    expect(asked.at(-1)).toBe('HEAD https://cdn.test/x')
  })

  it('is not asked for again for a minute when nobody answers', async () => {
    const { head, asked, state } = registry(() => new Error('no route'))
    await head()
    await head()
    expect(asked).toHaveLength(1)
    state.now = 60_001
    await head()
    expect(asked).toHaveLength(2)
  })
})

describe('content of ordinary images', () => {
  function parts() {
    const state = { now: 0, open: true, asked: 0 }
    const peer = { node: 'n', host: 'h', port: 1 }
    const ordinary = createOrdinary({
      registries: {
        head: () => Promise.resolve(((state.asked += 1), state.open) ? { digest, mediaType: 'm', size: 1 } : undefined),
      },
      lookups: {
        ask: (wanted) =>
          Promise.resolve(
            'ordinary' in wanted && wanted.digest === digest
              ? { state: 'here' as const, image: { name: 'x', digest, version: 0 }, peers: [peer] }
              : { state: 'none' as const },
          ),
        change: () => Promise.resolve({}),
        demand: () => Promise.resolve({}),
      },
      remote: {
        manifest: () =>
          Promise.resolve({
            ...{ bytes: Buffer.from('{}'), mediaType: 'm' },
            children: [{ mediaType: 'l', digest: layer, size: 1 }],
          }),
      },
      now: () => state.now,
    })
    return { ordinary, state, peer }
  }

  it('is given for a while after the registry has let its manifest be seen, in its repository', async () => {
    const { ordinary, state, peer } = parts()
    expect(ordinary.blob('r.test/a', layer)).toBeUndefined()
    await ordinary.resolve('r.test/a', 'v1', '*/*')
    await ordinary.manifest('r.test/a', digest, '*/*')
    expect(state.asked).toBe(1)
    expect(await ordinary.blob('r.test/a', layer)?.peers()).toEqual([peer])
    expect(ordinary.blob('r.test/b', layer)).toBeUndefined()
    state.now = 300_001
    expect(ordinary.blob('r.test/a', layer)).toBeUndefined()
    await ordinary.manifest('r.test/a', digest, '*/*')
    expect(state.asked).toBe(2)
  })

  it('is not given when the registry does not', async () => {
    const { ordinary, state } = parts()
    state.open = false
    expect(await ordinary.manifest('r.test/a', digest, '*/*')).toBeUndefined()
    expect(ordinary.blob('r.test/a', digest)).toBeUndefined()
  })
})
