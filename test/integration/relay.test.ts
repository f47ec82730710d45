import { createHash, randomBytes } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { stat, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Buildkitd, startBuildkitd } from './fixtures/buildkitd.ts'
import { buildctl, startClient } from './fixtures/clients.ts'
import { createWorkspace, type Workspace } from './fixtures/context.ts'
import { startGateway, type TestGateway } from './fixtures/gateway.ts'
import { processWith } from './fixtures/processes.ts'
import { quickest } from './fixtures/quickest.ts'
import { until } from './fixtures/until.ts'

let daemon: Buildkitd
let gateway: TestGateway
let work: Workspace
let unix: string

beforeAll(async () => {
  work = await createWorkspace()
  daemon = await startBuildkitd()
  unix = `unix://${await work.directory()}/gateway.sock`
  gateway = await startGateway({ nodes: { one: daemon }, listen: [unix] })
})

afterAll(async () => {
  await gateway?.close()
  await daemon?.stop()
  await work?.remove()
})

test('a build with a secret, exported to a directory, through tcp and through a unix socket', async () => {
  const context = await work.context('RUN --mount=type=secret,id=word cp /run/secrets/word /word\nCOPY data /data\n', {
    data: 'from the context',
  })
  const secret = join(await work.directory(), 'word')
  await writeFile(secret, 'swordfish')
  for (const address of [gateway.address, unix]) {
    const out = await work.directory()
    const args = [`--secret=id=word,src=${secret}`, `--output=type=local,dest=${out}`, '--no-cache']
    const result = await buildctl(address, context, args).ended
    expect(result, result.output).toMatchObject({ exitCode: 0 })
    expect(readFileSync(join(out, 'word'), 'utf8')).toBe('swordfish')
    expect(readFileSync(join(out, 'data'), 'utf8')).toBe('from the context')
  }
})

test('what a daemon has kept of one caller’s context gets into no build of another', async () => {
  // To a daemon these look the same, and that of a client which names no shared key has one place for all.
  const of = async (address: string, data: string): Promise<string> => {
    const context = await work.context('COPY data /data\n', { data })
    for (const file of ['data', 'Dockerfile', '.']) await utimes(join(context, file), 1e9, 1e9)
    const out = await work.directory()
    const result = await buildctl(address, context, [`--output=type=local,dest=${out}`]).ended
    expect(result, result.output).toMatchObject({ exitCode: 0 })
    return readFileSync(join(out, 'data'), 'utf8')
  }
  expect(await of(gateway.address, 'evil')).toBe('evil')
  expect(await of(unix, 'good')).toBe('good')
  // It is by this that a context which has not changed is not sent again.
  expect(await of(gateway.address, 'EVIL')).toBe('evil')
})

test('an ssh agent of the client is reachable in RUN', async () => {
  const socket = join(await work.directory(), 'agent.sock')
  const agent = startClient('/usr/bin/ssh-agent', ['-D', '-a', socket])
  try {
    await until('the ssh agent', () => existsSync(socket))
    const context = await work.context('RUN --mount=type=ssh test -S "$SSH_AUTH_SOCK" && echo agent-is-here\n')
    const result = await buildctl(gateway.address, context, ['--ssh=default'], { env: { SSH_AUTH_SOCK: socket } }).ended
    expect(result.output).toMatch(/ agent-is-here/)
    expect(result.exitCode).toBe(0)
  } finally {
    agent.kill('SIGTERM')
    await agent.ended
  }
})

test('a context of 200 MB arrives whole, and a tar of it comes back', async () => {
  const big = randomBytes(200 << 20)
  const context = await work.context('COPY big /big\nRUN sha256sum /big\n', { big })
  const tar = join(await work.directory(), 'out.tar')
  const result = await buildctl(gateway.address, context, [`--output=type=tar,dest=${tar}`]).ended
  expect(result, result.output).toMatchObject({ exitCode: 0 })
  expect(result.output).toContain(sha256(big))
  expect((await stat(tar)).size).toBeGreaterThan(big.length)
})

test('a build that fails ends as it does without a gateway', async () => {
  const context = await work.context('RUN echo before-it && exit 7\n')
  const [through, direct] = await Promise.all(
    [gateway.address, daemon.address].map((address) => buildctl(address, context).ended),
  )
  expect(through?.exitCode).toBe(direct?.exitCode)
  expect(through?.output).toContain('exit code: 7')
  expect(through?.output.split('error:')[1]).toBe(direct?.output.split('error:')[1])
})

test('messages of many MB pass, and one too large for the daemon gets the answer of the daemon', async () => {
  const run = async (address: string, bytes: number) => {
    const input = join(await work.directory(), 'definition')
    await writeFile(input, definitionOf(bytes))
    return startClient('buildctl', ['--addr', address, 'build', '--progress=plain'], { input }).ended
  }
  const fits = await run(gateway.address, 15 << 20)
  expect(fits, fits.output.slice(-500)).toMatchObject({ exitCode: 0 })
  const tooLarge = await run(gateway.address, 21 << 20)
  expect(tooLarge.exitCode).toBe(1)
  expect(tooLarge.output).toContain('ResourceExhausted')
  expect(tooLarge.output.split('error:')[1]).toBe((await run(daemon.address, 21 << 20)).output.split('error:')[1])
})

test('several builds of one bake share sessions and all succeed', async () => {
  const context = await work.context('ARG WHO\nRUN echo "I am $WHO" > /who\n')
  const out = await work.directory()
  const target = (name: string): string =>
    `target "${name}" {\n context = "${context}"\n args = { WHO = "${name}" }\n output = ["type=local,dest=${out}/${name}"]\n}\n`
  const file = join(out, 'bake.hcl')
  await writeFile(file, `group "default" { targets = ["a", "b", "c"] }\n${['a', 'b', 'c'].map(target).join('')}`)
  const env = { BUILDX_CONFIG: await work.directory() }
  const created = await startClient('buildx', ['create', '--name=x', '--driver=remote', gateway.address], { env }).ended
  expect(created, created.output).toMatchObject({ exitCode: 0 })
  const args = [
    'bake',
    '--builder=x',
    '--progress=plain',
    `--allow=fs=${out}`,
    `--allow=fs.read=${context}`,
    '-f',
    file,
  ]
  const result = await startClient('buildx', args, { env }).ended
  expect(result, result.output).toMatchObject({ exitCode: 0 })
  for (const name of ['a', 'b', 'c']) expect(readFileSync(join(out, name, 'who'), 'utf8')).toBe(`I am ${name}\n`)
})

test('a client that is killed leaves nothing running', async () => {
  const marker = `7${Date.now()}`
  const context = await work.context(`RUN sleep ${marker}\n`)
  const client = buildctl(gateway.address, context)
  await until('the RUN step to start', () => runs(marker))
  expect(gateway.activity.total).toBe(1)
  client.kill('SIGKILL')
  await until('the RUN step to end', () => !runs(marker))
  await until('the gateway to notice', () => gateway.activity.total === 0)
  expect(gateway.log()).toContain('"outcome":"cancelled"')
})

test('a daemon that dies ends its client with a sentence within two seconds', async () => {
  expect(await quickest(2000, timeOfDeath)).toBeLessThan(2000)
})

/** @returns milliseconds from the death of a daemon to the end of its client. */
async function timeOfDeath(): Promise<number> {
  const doomed = await startBuildkitd()
  const door = await startGateway({ nodes: { worker: doomed } })
  const marker = `8${Date.now()}`
  try {
    const context = await work.context(`RUN sleep ${marker}\n`)
    const client = buildctl(door.address, context)
    await until('the RUN step to start', () => runs(marker))
    const killed = performance.now()
    await doomed.kill()
    const result = await client.ended
    const took = performance.now() - killed
    expect(result.exitCode).not.toBe(0)
    expect(result.output).toContain('node worker: the connection to its build daemon was lost')
    const next = await buildctl(door.address, context).ended
    expect(next.exitCode).not.toBe(0)
    expect(next.output).toContain('node worker: its build daemon cannot be reached')
    return took
  } finally {
    await door.close()
    await doomed.stop()
  }
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** An LLB definition of one file operation that creates a file with so many random bytes: solver/pb/ops.proto. */
function definitionOf(bytes: number): Buffer {
  const varint = (value: number): number[] => (value < 128 ? [value] : [(value & 127) | 128, ...varint(value >>> 7)])
  const field = (number: number, ...content: Uint8Array[]): Buffer => {
    const body = Buffer.concat(content)
    return Buffer.concat([Buffer.from([(number << 3) | 2, ...varint(body.length)]), body])
  }
  // -1: the action starts from nothing.
  const none = (number: number): Buffer => Buffer.from([number << 3, ...Array<number>(9).fill(255), 1])
  const mkfile = Buffer.concat([
    field(1, Buffer.from('/big')),
    Buffer.from([2 << 3, ...varint(0o644)]),
    field(3, randomBytes(bytes)),
    none(5),
  ])
  const file = field(4, field(2, none(1), none(2), field(5, mkfile)))
  const result = field(1, field(1, Buffer.from(`sha256:${sha256(file)}`)))
  return Buffer.concat([field(1, file), field(1, result)])
}

/** Whether the step `sleep MARKER` runs. */
const runs = (marker: string): boolean => processWith('sleep', marker) !== undefined
