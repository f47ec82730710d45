import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type Buildkitd, startBuildkitd } from './fixtures/buildkitd.ts'
import { startBusyRegistry } from './fixtures/busy-registry.ts'
import { buildctl, type Client, type ClientResult, startClient } from './fixtures/clients.ts'
import { createWorkspace, type Workspace } from './fixtures/context.ts'
import { startGateway, type TestGateway } from './fixtures/gateway.ts'
import { stubbornContext } from './fixtures/frontend-image.ts'
import { type HttpProxy, startHttpProxy } from './fixtures/http-proxy.ts'
import { sleepers } from './fixtures/processes.ts'
import { type Registry, startRegistry } from './fixtures/registry.ts'
import { until } from './fixtures/until.ts'

/** Clients that are not `buildctl build` of one Dockerfile, on two nodes of different architectures. */
let red: Buildkitd
let blue: Buildkitd
let gateway: TestGateway
let registry: Registry
let work: Workspace
let proxy: HttpProxy
/** Of the node blue. */
const blueProxy: Record<string, string> = {}

const both = 'linux/amd64,linux/arm64'

beforeAll(async () => {
  work = await createWorkspace()
  ;[red, blue, registry, proxy] = await Promise.all([
    startBuildkitd({ config: '[worker.oci]\nplatforms = ["linux/amd64"]\n' }),
    startBuildkitd({ config: '[worker.oci]\nplatforms = ["linux/arm64"]\n' }),
    startRegistry({ memory: true }),
    startHttpProxy({ hosts: {} }),
  ])
  gateway = await startGateway({
    nodes: {
      red: { socket: red.socket, native: ['linux/amd64'] },
      blue: { socket: blue.socket, native: ['linux/arm64'], proxy: blueProxy },
    },
    config: { statusVertex: true, defaults: true, proxy: true },
    // Buildctl asks for workers first; on a busy machine the daemons' first answer takes its time.
    patience: 30_000,
  })
})

afterEach(async () => {
  await until('nothing to run', () => gateway.activity.total === 0)
})

afterAll(async () => {
  await gateway?.close()
  await Promise.all([red?.stop(), blue?.stop(), registry?.stop(), proxy?.stop()])
  await work?.remove()
})

const ok = (result: ClientResult): ClientResult => {
  expect(result.exitCode, result.output).toBe(0)
  return result
}
const probe = (what: 'combine' | 'solve', args: readonly string[]): Client =>
  startClient('probe', [what, `-addr=${gateway.address}`, ...args])

async function architectures(repository: string, tag: string): Promise<string[]> {
  const index = (await registry.manifest(repository, tag)) as
    { readonly manifests?: readonly { readonly platform: { readonly architecture: string } }[] } | undefined
  return (index?.manifests ?? []).map(({ platform }) => platform.architecture).filter((name) => name !== 'unknown')
}

test('a target of bake that is built upon another one gets that one’s image of its own platform', async () => {
  const env = { BUILDX_CONFIG: await work.directory() }
  const buildx = async (args: readonly string[]): Promise<ClientResult> =>
    ok(await startClient('buildx', args, { env }).ended)
  await buildx(['create', '--name=x', '--use', '--driver=remote', gateway.address])
  const base = await work.context('ARG TARGETARCH\nENV MADE=$TARGETARCH\nRUN echo base $TARGETARCH > /base\n')
  const app = await work.directory()
  await writeFile(
    join(app, 'Dockerfile'),
    'FROM base\nARG TARGETARCH\nRUN echo "for $TARGETARCH: $(cat /base), $MADE"\n',
  )
  const common = { platforms: both.split(','), output: ['type=cacheonly'] }
  const file = join(await work.directory(), 'bake.json')
  await writeFile(
    file,
    JSON.stringify({
      target: {
        base: { context: base, ...common },
        app: { context: app, contexts: { base: 'target:base' }, ...common },
      },
    }),
  )
  const allowed = [base, app].map((path) => `--allow=fs.read=${path}`)
  const { output } = await buildx(['bake', '--progress=plain', `--file=${file}`, ...allowed, 'app'])
  for (const arch of ['amd64', 'arm64']) expect(output).toMatch(new RegExp(`\\d for ${arch}: base ${arch}, ${arch}\n`))
})

test('a frontend that is named in Solve itself: each part on its node, one index', async () => {
  const context = await work.context('ARG TARGETARCH\nRUN echo made for $TARGETARCH | tee /arch\n')
  const name = `${registry.address}/team/solve:v1`
  const { output } = ok(
    await probe('solve', [`-context=${context}`, `-image=${name}`, '-push', `platform=${both}`]).ended,
  )
  for (const arch of ['amd64', 'arm64']) expect(output).toContain(`made for ${arch}\n`)
  expect(output).toContain('[insitu] node blue builds linux/arm64')
  expect(await architectures('team/solve', 'v1')).toEqual(['amd64', 'arm64'])
  const digest = /^digest (\S+)$/m.exec(output)?.[1] ?? ''
  expect(await registry.manifest('team/solve', digest)).toEqual(await registry.manifest('team/solve', 'v1'))
})

test.for(['buildctl', 'a frontend in Solve'])(
  'a registry that refuses a manifest while another node pushes a layer of it is asked again: %s',
  async (client) => {
    const tag = client === 'buildctl' ? 'bridge' : 'solve'
    await using busy = await startBusyRegistry(registry.address)
    const context = await work.context(`ARG TARGETARCH\nRUN echo ${tag} on $TARGETARCH | tee /arch\n`)
    const name = `${busy.address}/team/busy:${tag}`
    const { output } = ok(
      await (
        client === 'buildctl'
          ? buildctl(gateway.address, context, [`--opt=platform=${both}`, `--output=type=image,name=${name},push=true`])
          : probe('solve', [`-context=${context}`, `-image=${name}`, '-push', `platform=${both}`])
      ).ended,
    )
    expect(busy.refused()).toBe(1)
    expect(output).toMatch(/\[insitu\] node (red|blue) pushes again: /)
    expect(await architectures('team/busy', tag)).toEqual(['amd64', 'arm64'])
  },
)

describe('a client that puts platforms together itself is served by one node, which says why', () => {
  const why =
    /\[insitu\] node (red|blue): .*\(not split between 2 nodes, because the client puts platforms together itself\)/

  test('graphs of its own', async () => {
    const name = `${registry.address}/team/graphs:v1`
    const { output } = ok(await probe('combine', [`-image=${name}`, '-push', `platform=${both}`]).ended)
    expect(output).toMatch(why)
    for (const platform of both.split(',')) expect(output).toContain(`graph for ${platform}\n`)
    expect(await architectures('team/graphs', 'v1')).toEqual(['amd64', 'arm64'])
  })

  test('a frontend that it asks for one platform at a time', async () => {
    const context = await work.context('ARG TARGETARCH\nRUN echo alone for $TARGETARCH\n')
    const name = `${registry.address}/team/alone:v1`
    const args = ['-platforms-alone', `-context=${context}`, `-image=${name}`, '-push', `platform=${both}`]
    const { output } = ok(await probe('combine', args).ended)
    expect(output).toMatch(why)
    for (const arch of ['amd64', 'arm64']) expect(output).toContain(`alone for ${arch}\n`)
    expect(await architectures('team/alone', 'v1')).toEqual(['amd64', 'arm64'])
  })

  test('and gets what went wrong there', async () => {
    const { exitCode, output } = await probe('combine', ['-script=echo it breaks; exit 3', `platform=${both}`]).ended
    expect(exitCode).toBe(1)
    expect(output).toMatch(why)
    expect(output).toContain('exit code: 3')
  })
})

test.for(['stays', 'is pushed'])(
  'two images of one platform, from a frontend that makes what it wants: refused with both, and nothing %s',
  async (what) => {
    const frontend = `${registry.address}/team/stubborn:1`
    const source = await work.directory()
    await stubbornContext(source)
    const args = [`--opt=platform=${both}`, `--output=type=image,name=${frontend},push=true`]
    ok(await buildctl(gateway.address, source, args).ended)
    const name = `${registry.address}/team/twice:v1`
    const { exitCode, output } = await buildctl(gateway.address, await work.directory(), [
      ...['--frontend=gateway.v0', `--opt=source=${frontend}`, `--opt=platform=${both}`],
      `--output=type=image,name=${name}${what === 'stays' ? '' : ',push=true'}`,
    ]).ended
    expect(exitCode).toBe(1)
    const digest = 'sha256:[0-9a-f]{64}'
    const words = `nodes red and blue made different images for linux/a(md|rm)64: ${digest} and ${digest}`
    expect(output).toMatch(new RegExp(words))
    expect(output).toContain('to fix it: ask for each platform once')
    expect(await registry.manifest('team/twice', 'v1')).toBeUndefined()
  },
)

test('a session that is lost half-way ends both parts at once, with what was lost; nothing is pushed', async () => {
  const seconds = 50_000 + (process.pid % 10_000)
  const context = await work.context(`ARG TARGETARCH\nRUN echo $TARGETARCH; sleep ${seconds}; true\n`)
  const name = `${registry.address}/team/session:v1`
  const client = probe('solve', [`-context=${context}`, `-image=${name}`, '-push', `platform=${both}`])
  await until('both parts to sleep', () => sleepers(seconds) === 2)
  client.kill('SIGUSR1')
  const { exitCode, output } = await client.ended
  expect(exitCode).toBe(1)
  expect(output).toContain('the session of the client, through which it serves the build, was lost')
  await until('both parts to end', () => sleepers(seconds) === 0)
  expect(await registry.manifest('team/session', 'v1')).toBeUndefined()
})

describe('each part has the proxy of its node', () => {
  const platforms = `--opt=platform=${both}`

  test('which is in the steps and in nothing that is pushed', async () => {
    blueProxy['HTTP_PROXY'] = proxy.url
    try {
      const context = await work.context('ARG TARGETARCH\nRUN echo "proxy of $TARGETARCH: $http_proxy;"\n')
      const name = `${registry.address}/team/proxy:v1`
      const output = `--output=type=image,name=${name},push=true`
      const result = ok(await buildctl(gateway.address, context, [platforms, output]).ended)
      expect(result.output).toContain('proxy of amd64: ;')
      expect(result.output).toContain(`proxy of arm64: ${proxy.url};`)
      const everything = JSON.stringify(await registry.manifest('team/proxy', 'v1'))
      expect(everything).not.toContain(proxy.url)
    } finally {
      delete blueProxy['HTTP_PROXY']
    }
  })

  test('one that is no URL ends the build before anything is built, with the node', async () => {
    blueProxy['HTTP_PROXY'] = 'http://user:hunter2'
    try {
      const context = await work.context('RUN echo built\n')
      const { exitCode, output } = await buildctl(gateway.address, context, [platforms]).ended
      expect(exitCode).toBe(1)
      expect(output).toMatch(/node blue: the agent's variable HTTP_PROXY is not a URL/)
      expect(output).not.toMatch(/hunter2|^#\d+ [\d.]+ built/m)
    } finally {
      delete blueProxy['HTTP_PROXY']
    }
  })
})
