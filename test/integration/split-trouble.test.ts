import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { createServer as createHttpServer, type Server } from 'node:http'
import { type AddressInfo, connect as connectTo, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { type Buildkitd, startBuildkitd } from './fixtures/buildkitd.ts'
import { buildctl, type ClientResult, startClient } from './fixtures/clients.ts'
import { createWorkspace, type Workspace } from './fixtures/context.ts'
import { startGateway, type TestGateway } from './fixtures/gateway.ts'
import { sleepers } from './fixtures/processes.ts'
import { type Registry, startRegistry } from './fixtures/registry.ts'
import { until } from './fixtures/until.ts'

let red: Buildkitd
let blue: Buildkitd
let gateway: TestGateway
let registry: Registry
let work: Workspace
let tokens: Server

const both = '--opt=platform=linux/amd64,linux/arm64'
const native = { red: ['linux/amd64', 'linux/386'], blue: ['linux/arm64'] }

const startBlue = (): Promise<Buildkitd> => startBuildkitd({ config: '[worker.oci]\nplatforms = ["linux/arm64"]\n' })
const open = (): Promise<TestGateway> =>
  startGateway({
    nodes: { red: { socket: red.socket, native: native.red }, blue: { socket: blue.socket, native: native.blue } },
    config: { statusVertex: true, defaults: true },
    // Buildctl asks for workers first; on a busy machine the daemons' first answer takes its time.
    patience: 30_000,
  })

beforeAll(async () => {
  work = await createWorkspace()
  ;[red, blue, registry] = await Promise.all([
    startBuildkitd({ config: '[worker.oci]\nplatforms = ["linux/amd64"]\n' }),
    startBlue(),
    startRegistry({ tokens: `http://127.0.0.1:${await openTokens()}/token`, memory: true }),
  ])
  gateway = await open()
})

afterEach(async () => {
  await until('nothing to run', () => gateway.activity.total === 0)
})

afterAll(async () => {
  await gateway?.close()
  await Promise.all([red?.stop(), blue?.stop(), registry?.stop()])
  await work?.remove()
  tokens?.closeAllConnections()
  tokens?.close()
})

/** Who knows the password gets a token. */
async function openTokens(): Promise<number> {
  tokens = createHttpServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.once('end', () => {
      const form = new URLSearchParams(Buffer.concat(chunks).toString())
      const basic = `Basic ${Buffer.from('team:hunter2').toString('base64')}`
      const known = request.headers.authorization === basic || form.get('password') === 'hunter2'
      response.writeHead(known ? 200 : 401, { 'content-type': 'application/json' })
      response.end(JSON.stringify(known ? { token: 'a-token', access_token: 'a-token' } : {}))
    })
  })
  await new Promise<void>((resolve) => tokens.listen(0, '127.0.0.1', resolve))
  return (tokens.address() as AddressInfo).port
}

const ok = (result: ClientResult): ClientResult => {
  expect(result.exitCode, result.output).toBe(0)
  return result
}

const dockerConfig = async (password: string): Promise<string> => {
  const directory = await work.directory()
  const auth = Buffer.from(`team:${password}`).toString('base64')
  await writeFile(join(directory, 'config.json'), JSON.stringify({ auths: { [registry.address]: { auth } } }))
  return directory
}

test('the index is pushed with the credentials of the client, and not without them', async () => {
  const context = await work.context('ARG TARGETARCH\nRUN echo $TARGETARCH > /arch\n')
  const push = (tag: string): string => `--output=type=image,name=${registry.address}/team/app:${tag},push=true`
  const env = { DOCKER_CONFIG: await dockerConfig('hunter2') }
  ok(await buildctl(gateway.address, context, [both, push('v1')], { env }).ended)
  expect((await registry.manifest('team/app', 'v1'))?.['manifests']).toHaveLength(2)
  const wrong = { DOCKER_CONFIG: await dockerConfig('hunter3') }
  const result = await buildctl(gateway.address, context, [both, push('v2')], { env: wrong }).ended
  expect(result.exitCode).toBe(1)
  expect(result.output).toMatch(/401|authorization|unauthorized/i)
  expect(await registry.manifest('team/app', 'v2')).toBeUndefined()
  expect(gateway.log() + result.output).not.toContain('hunter')
})

test('an ssh agent of the client is there on both nodes', async () => {
  const socket = join(await work.directory(), 'agent.sock')
  const agent = startClient('/usr/bin/ssh-agent', ['-D', '-a', socket])
  try {
    await until('the ssh agent', () => existsSync(socket))
    const context = await work.context(
      'ARG TARGETARCH\nRUN --mount=type=ssh test -S "$SSH_AUTH_SOCK" && echo agent for $TARGETARCH\n',
    )
    const env = { SSH_AUTH_SOCK: socket }
    const { output } = ok(await buildctl(gateway.address, context, [both, '--ssh=default'], { env }).ended)
    for (const arch of ['amd64', 'arm64']) expect(output).toMatch(new RegExp(`\\d agent for ${arch}`))
  } finally {
    agent.kill('SIGTERM')
    await agent.ended
  }
})

test('a context is sent once to each node, however many platforms it builds', async () => {
  const size = 24 << 20
  const big = randomBytes(size)
  const context = await work.context('COPY big /big\nRUN wc -c /big\n', { big })
  let sent = 0
  const pairs = new Set<Socket>()
  const counter = createServer((client) => {
    const [host, port] = gateway.address.slice('tcp://'.length).split(':')
    const upstream = connectTo(Number(port), host ?? '')
    pairs.add(client)
    client.on('data', (chunk) => (sent += chunk.length))
    client.pipe(upstream).pipe(client)
    for (const side of [client, upstream]) side.on('error', () => client.destroy())
  })
  await new Promise<void>((resolve) => counter.listen(0, '127.0.0.1', resolve))
  const address = `tcp://127.0.0.1:${(counter.address() as AddressInfo).port}`
  try {
    const three = '--opt=platform=linux/amd64,linux/386,linux/arm64'
    const { output } = ok(await buildctl(address, context, [three]).ended)
    expect(output).toContain('node red builds linux/amd64, linux/386')
    expect(sent).toBeGreaterThan(2 * size)
    expect(sent).toBeLessThan(2.5 * size)
  } finally {
    for (const client of pairs) client.destroy()
    await new Promise((resolve) => counter.close(resolve))
  }
})

/** A build of which both parts have reached a step that sleeps. */
async function asleep(seconds: number, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const context = await work.context(`ARG TARGETARCH\nRUN echo $TARGETARCH; sleep ${seconds}; true\n`)
  const client = buildctl(gateway.address, context, [both, ...args], { env })
  await until('both parts to sleep', () => sleepers(seconds) === 2)
  return client
}

test('a client that goes away ends both parts', async () => {
  const seconds = 30_000 + (process.pid % 10_000)
  const client = await asleep(seconds, [])
  client.kill('SIGKILL')
  await client.ended
  await until('both parts to end', () => sleepers(seconds) === 0)
})

test('a node that is lost half-way ends the build with its name, and the other part; nothing is pushed', async () => {
  const env = { DOCKER_CONFIG: await dockerConfig('hunter2') }
  const seconds = 40_000 + (process.pid % 10_000)
  const client = await asleep(seconds, [`--output=type=image,name=${registry.address}/team/lost:v1,push=true`], env)
  await blue.kill()
  const result = await client.ended
  expect(result.exitCode).toBe(1)
  expect(result.output).toMatch(/node blue: the connection to its build daemon was lost/)
  await until('the other part to end', () => sleepers(seconds) === 0)
  expect(await registry.manifest('team/lost', 'v1')).toBeUndefined()
  await gateway.close()
  await blue.stop()
  blue = await startBlue()
  gateway = await open()
})
