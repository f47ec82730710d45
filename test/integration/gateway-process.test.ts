import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { connect } from 'node:http2'
import { connect as connectSocket, createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { frame } from '../../src/kernel/grpc/framing.ts'
import { type Buildkitd, startBuildkitd } from './fixtures/buildkitd.ts'
import { buildctl, type Client, startClient } from './fixtures/clients.ts'
import { createWorkspace, type Workspace } from './fixtures/context.ts'
import { until } from './fixtures/until.ts'

const insitu = fileURLToPath(new URL('../../bin/insitu', import.meta.url))

let daemon: Buildkitd
let work: Workspace
const gateways: Client[] = []

beforeAll(async () => {
  work = await createWorkspace()
  daemon = await startBuildkitd()
})

afterEach(async () => {
  for (const gateway of gateways.splice(0)) {
    gateway.kill('SIGKILL')
    await gateway.ended
  }
})

afterAll(async () => {
  await daemon?.stop()
  await work?.remove()
})

async function start(args: readonly string[] = []): Promise<{ client: Client; address: string }> {
  const address = `unix://${await work.directory()}/gateway.sock`
  const client = startClient(insitu, ['gateway', '--listen', address, '--node', `one=${daemon.address}`, ...args])
  gateways.push(client)
  await until('the gateway to listen', () => client.output().includes('"listening"'))
  return { client, address }
}

test('SIGTERM lets the running build finish, takes no new one, and then ends the process with exit code 0', async () => {
  const { client, address } = await start()
  // The step waits until the test closes its connection.
  const release = createServer({ allowHalfOpen: true })
  const port = await new Promise<number>((resolve) => {
    release.listen(0, '127.0.0.1', () => resolve((release.address() as { port: number }).port))
  })
  let waiting = false
  release.on('connection', () => (waiting = true))
  const context = await work.context(`RUN busybox nc 127.0.0.1 ${port} ; echo finished-in-peace\n`)
  const sockets: { end(): void }[] = []
  release.on('connection', (socket) => sockets.push(socket))
  const build = buildctl(address, context)
  await until('the build to run', () => waiting)

  client.kill('SIGTERM')
  await until('the gateway to drain', () => client.output().includes('stopping'))
  const late = await buildctl(address, await work.context('RUN true\n')).ended
  expect(late.exitCode).toBe(1)
  expect(late.output).toContain('this gateway is stopping; run the build again')

  // A client's calls come one by one: the connection stays for those that follow one that was refused.
  const connection = connect('http://localhost', { createConnection: () => connectSocket(address.slice(7)) })
  const refused = connection.request({
    ...{ ':method': 'POST', ':path': '/moby.buildkit.v1.Control/Solve' },
    ...{ 'content-type': 'application/grpc', te: 'trailers' },
  })
  refused.end(frame(new Uint8Array()))
  const [headers] = (await once(refused, 'response')) as [Record<string, string>]
  expect(headers['grpc-status']).toBe('14')
  await sleep(300)
  expect(connection.closed).toBe(false)
  connection.destroy()

  for (const socket of sockets) socket.end()
  release.close()
  const result = await build.ended
  expect(result.output).toContain('finished-in-peace')
  expect(result.exitCode).toBe(0)
  expect(await client.ended).toMatchObject({ exitCode: 0 })
})

test('a second signal does not wait, and the client is told', async () => {
  const { client, address } = await start()
  const marker = `echo running-${Date.now()}`
  const build = buildctl(address, await work.context(`RUN ${marker} && sleep 600\n`))
  await until('the build to run', () => build.output().includes(` ${marker.slice(5)}`))
  client.kill('SIGTERM')
  await until('the gateway to drain', () => client.output().includes('stopping'))
  client.kill('SIGTERM')
  expect(await client.ended).toMatchObject({ exitCode: 0 })
  const result = await build.ended
  expect(result.exitCode).toBe(1)
  expect(result.output).toContain('this gateway was stopped')
})

test('insitu.toml turns on what a transparent relay does not do', async () => {
  const file = join(await work.directory(), 'insitu.toml')
  await writeFile(file, '[gateway]\nstatusVertex = true\n')
  const { address } = await start(['--config', file])
  const result = await buildctl(address, await work.context('RUN true\n')).ended
  expect(result.output).toContain('[insitu] node one: the only node')
  const plain = await buildctl((await start()).address, await work.context('RUN true\n')).ended
  expect(plain.exitCode).toBe(0)
  expect(plain.output).not.toContain('[insitu]')
})

test.for([
  { args: ['--node', 'one=unix:///x'], says: 'no address to listen on' },
  { args: ['--listen', 'tcp://127.0.0.1', '--node', 'one=unix:///x'], says: 'it needs a host and a port' },
  { args: ['--listen', 'tcp://127.0.0.1:0', '--node', 'unix:///x'], says: 'is not NAME=ADDRESS' },
  { args: ['--listen', 'tcp://127.0.0.1:0', '--node', 'a=unix:///x', '--node', 'a=unix:///y'], says: 'given twice' },
  { args: ['--listen', 'tcp://127.0.0.1:0', '--node', 'a=unix:///x', '--config', '/nowhere'], says: 'cannot be read' },
])('a wrong command line is exit code 2 and says $says', async ({ args, says }) => {
  const result = await startClient(insitu, ['gateway', ...args]).ended
  expect(result.output).toContain(says)
  expect(result.exitCode).toBe(2)
})

test('an unknown key of insitu.toml is refused by name', async () => {
  const file = join(await work.directory(), 'insitu.toml')
  await writeFile(file, '[gateway]\nstatusvertex = true\n')
  const args = ['gateway', '--listen', 'tcp://127.0.0.1:0', '--node', 'a=unix:///x', '--config', file]
  const result = await startClient(insitu, args).ended
  expect(result.output).toContain('there is no key gateway.statusvertex')
  expect(result.exitCode).not.toBe(0)
})
