import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { checkProxy } from '../../buildkit/proxy-url.ts'
import { mergeProxies } from '../../buildkit/proxy.ts'
import { daemonEnvironment } from '../buildkitd/environment.ts'
import { checkProxies } from './check.ts'
import { proxyHandler } from './handlers.ts'
import { daemonProxies, localRegistries, remembered, rememberedFile } from './variables.ts'
import { proxyPart } from './part.ts'
import { createLogger } from '../../kernel/log.ts'
import type { PartContext } from '../part.ts'

const log = createLogger({ level: 'silent' })

test('buildkitd has the environment, the install wins, and NO_PROXY knows cluster, registries and what gateways tell', async () => {
  const options = {
    env: {
      http_proxy: 'http://env:1',
      HTTPS_PROXY: 'http://env:1',
      KUBERNETES_SERVICE_HOST: '10.96.0.1',
      HOST_IP: '10.0.0.5',
    },
    readProxy: () => Promise.resolve({ HTTPS_PROXY: '', HTTP_PROXY: 'http://install:1' }),
    readConfig: () =>
      Promise.resolve(
        '[registry."r.lan:5000"]\nhttp = true\n[registry."s.lan"]\ninsecure = true\n[registry."docker.io"]\n',
      ),
  }
  expect(await daemonProxies(options, ['10.244.0.0/16'])).toEqual({
    HTTP_PROXY: 'http://install:1',
    NO_PROXY: 'localhost,127.0.0.1,::1,.svc,.cluster.local,10.96.0.1,10.0.0.5,r.lan,s.lan,10.244.0.0/16',
  })
  expect(await daemonProxies({ env: { PATH: '/bin' } }, ['x'])).toEqual({})
  expect(await localRegistries({ readConfig: () => Promise.resolve('not = toml = at all') })).toEqual([])
})

test('a value from a file loses its line break: for steps, for buildkitd, and where it is checked', async () => {
  const env = { HTTP_PROXY: 'http://u:p@proxy:3128\n', no_proxy: '.corp.test\r\n', HTTPS_PROXY: '\n' }
  let body = ''
  const response = { writeHead: () => undefined, end: (text: string) => (body = text) } as never
  await proxyHandler({ env }).handle({} as never, response, {} as never)
  const told = JSON.parse(body) as Record<string, string>
  expect(joinedByGateway(told)).toEqual({ HTTP_PROXY: 'http://u:p@proxy:3128', NO_PROXY: '.corp.test' })
  expect(await daemonProxies({ env }, [])).toEqual(joinedByGateway(told))
  expect(daemonEnvironment(env, '/t')).toMatchObject({ http_proxy: 'http://u:p@proxy:3128', NO_PROXY: '.corp.test' })
  expect(
    (await checkProxies(await daemonProxies({ env }, []), { reach: () => Promise.resolve(undefined) })).length,
  ).toBe(0)
})

/** What a gateway does with the answer before it merges the other sources. */
function joinedByGateway(told: Record<string, string>): Record<string, string> {
  checkProxy(told, 'the agent’s variable')
  return mergeProxies(told)
}

test('a proxy that is no address and one that nobody answers at are findings without their passwords', async () => {
  const server = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const there = `http://user:s3cret@127.0.0.1:${port}`
  expect(await checkProxies({ HTTP_PROXY: there, NO_PROXY: 'anything' })).toEqual([])
  server.close()
  await once(server, 'close')
  const found = await checkProxies({ HTTP_PROXY: there, HTTPS_PROXY: there, ALL_PROXY: 'http://user:s3cret' })
  expect(found.map(({ code }) => code)).toEqual(['PROXY_UNREACHABLE', 'PROXY_URL'])
  expect(found[0]?.message).toContain(`http://***@127.0.0.1:${port} cannot be reached from this node`)
  expect(JSON.stringify(found)).not.toContain('s3cret')
})

test('what gateways tell is kept for the next start, and goes with the agent', async () => {
  const runDirectory = await mkdtemp(join(tmpdir(), 'insitu-proxy-part-'))
  try {
    let now = { HTTP_PROXY: 'http://a:1' }
    const part = proxyPart(
      { env: {}, readProxy: () => Promise.resolve(now) },
      { reach: () => Promise.resolve(undefined), interval: 10 },
    )
    const running = await part.start({ runDirectory, log, changed: () => undefined } as PartContext)
    const [handler] = running.handlers ?? []
    const response = { writeHead: () => undefined, end: () => undefined } as never
    const post = (body: unknown) => handler?.handle(bodyOf(body), response, {} as never)
    await post(['10.96.0.0/16', '.svc'])
    expect(await remembered(runDirectory)).toEqual(['10.96.0.0/16', '.svc'])
    await expect(async () => post(['evil\nline'])).rejects.toThrow('entries for NO_PROXY')
    expect(await readFile(rememberedFile(runDirectory), 'utf8')).toBe('10.96.0.0/16,.svc')
    expect(running.findings?.()).toEqual([])
    now = { HTTP_PROXY: 'http://b:1' }
    await expect.poll(() => running.findings?.().map(({ code }) => code)).toEqual(['PROXY_PENDING'])
    await running.stop()
    expect(await remembered(runDirectory)).toEqual([])
  } finally {
    await rm(runDirectory, { recursive: true, force: true })
  }
})

/** A request's body, as far as it is read. */
function bodyOf(value: unknown): never {
  return (async function* () {
    yield Buffer.from(JSON.stringify(value))
  })() as never
}
