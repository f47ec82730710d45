import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf'
import { randomUUID } from 'node:crypto'
import { connect, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { SolveRequestSchema, StatusRequestSchema } from '../../../src/buildkit/gen/control_pb.ts'
import {
  ResolveImageConfigRequestSchema,
  ResolveSourceMetaRequestSchema,
  ReturnRequestSchema,
  SolveRequestSchema as BridgeSolveSchema,
} from '../../../src/buildkit/gen/gateway_pb.ts'
import { buildIdHeader, paths } from '../../../src/buildkit/methods.ts'
import { createAdmission } from '../../../src/gateway/policy/enforce.ts'
import { readPolicy } from '../../../src/gateway/policy/read-policy.ts'
import { createQueue, type Queue } from '../../../src/gateway/queue/queue.ts'
import { type GrpcConnection, grpcConnection } from '../../../src/kernel/grpc/connection.ts'
import { createLogger } from '../../../src/kernel/log.ts'
import { type Buildkitd, startBuildkitd } from '../fixtures/buildkitd.ts'
import { buildctl, startClient } from '../fixtures/clients.ts'
import { createWorkspace, type Workspace } from '../fixtures/context.ts'
import { startGateway, type TestGateway } from '../fixtures/gateway.ts'
import { fromSession, oneFile, program } from '../fixtures/llb.ts'
import { until } from '../fixtures/until.ts'

let daemon: Buildkitd
let work: Workspace
let queue: Queue
let perNode = 0
let gateway: TestGateway
/** Two callers: one by the unix socket, one from loopback. */
let local: GrpcConnection
let loopback: GrpcConnection
let bridge: Server

const text = (rate: number): string => `
[[tenant]]
name = "all"
match = { anybody = true }
names = ["*"]
solvesPerMinute = ${rate}
`
let policy = readPolicy(text(0), 'policy.toml')

beforeAll(async () => {
  work = await createWorkspace()
  daemon = await startBuildkitd()
  queue = createQueue({ perNode: () => perNode, tenant: () => ({ name: 'all', weight: 1, builds: 0 }), lookAgain: 50 })
  const [socket, other] = [join(await work.directory(), 's'), join(await work.directory(), 's')]
  gateway = await startGateway({
    nodes: { one: daemon },
    listen: [`unix://${socket}`],
    config: { statusVertex: true },
    admission: createAdmission({ policy: () => policy, logger: createLogger({ level: 'silent' }) }),
    turns: queue,
  })
  bridge = createServer((client) => {
    const server = connect(gateway.port, '127.0.0.1')
    for (const end of [client, server]) end.on('error', () => end.destroy())
    client.pipe(server).pipe(client)
  }).listen(other)
  local = grpcConnection(socket)
  loopback = grpcConnection(other)
})
afterAll(async () => {
  local?.close()
  loopback?.close()
  bridge?.close()
  await gateway?.close()
  await daemon?.stop()
  await work?.remove()
})

const solve = (by: GrpcConnection, init: MessageInitShape<typeof SolveRequestSchema>): Promise<Uint8Array> =>
  by.unary({
    method: paths.solve,
    timeout: 60_000,
    request: toBinary(SolveRequestSchema, create(SolveRequestSchema, { ref: randomUUID(), ...init })),
  })

test('a queue: the place is in the progress, a client that gives up leaves at once, the next one starts', async () => {
  perNode = 1
  const [long, short] = [await work.context('RUN sleep 600\n'), await work.context('RUN echo my-turn\n')]
  const first = buildctl(gateway.address, long, ['--no-cache'])
  await until('the first build to run', () => first.output().includes('RUN sleep 600'))
  const second = buildctl(gateway.address, long, ['--no-cache'])
  await until('the second to wait', () => second.output().includes('place 1 in the queue'))
  const third = buildctl(gateway.address, short)
  await until('the third to wait', () => third.output().includes('place 2 in the queue'))
  expect(third.output()).toContain('[insitu] waiting for a turn on node one')
  second.kill('SIGINT')
  await second.ended
  await until('the third to move up', () => third.output().includes('place 1 in the queue'))
  expect(queue.waiting().get('one')).toBe(1)
  first.kill('SIGINT')
  await first.ended
  const result = await third.ended
  expect(result, result.output).toMatchObject({ exitCode: 0 })
  expect(result.output).toContain('my-turn')
  await until('the queue to be empty', () => queue.waiting().size === 0)
})

test('bake, whose targets wait for each other, is one turn', async () => {
  perNode = 1
  const context = await work.context('RUN echo base\n')
  const child = await work.directory()
  const { writeFile } = await import('node:fs/promises')
  await writeFile(join(child, 'Dockerfile'), 'FROM parent\nRUN echo child-built\n')
  const bake = { target: { parent: { context }, child: { context: child, contexts: { parent: 'target:parent' } } } }
  const file = join(child, 'bake.json')
  await writeFile(file, JSON.stringify(bake))
  const env = { BUILDX_CONFIG: await work.directory() }
  await startClient('buildx', ['create', '--name=q', '--driver=remote', gateway.address], { env }).ended
  const args = ['bake', '--builder=q', '--progress=plain', '--allow=fs.read=*', `--file=${file}`]
  const result = await startClient('buildx', [...args, 'child', 'parent'], { env, cwd: child }).ended
  expect(result, result.output).toMatchObject({ exitCode: 0 })
  expect(result.output).toContain('child-built')
  perNode = 0
})

describe('a Solve that says it is internal', () => {
  const bridge = (
    by: GrpcConnection,
    ref: string,
    method: string,
    request: Uint8Array = new Uint8Array(),
  ): Promise<Uint8Array> => by.unary({ method, metadata: { [buildIdHeader]: ref }, request, timeout: 20_000 })
  const asked = (init: MessageInitShape<typeof BridgeSolveSchema>): Uint8Array =>
    toBinary(BridgeSolveSchema, create(BridgeSolveSchema, init))
  afterEach(() => void (perNode = 0))
  const end = toBinary(ReturnRequestSchema, create(ReturnRequestSchema, { result: {} }))

  test('is a build like others when it builds something: it waits for its turn and is in the log', async () => {
    perNode = 1
    const [first, second] = [randomUUID(), randomUUID()]
    const running = solve(local, { ref: first })
    await bridge(local, first, paths.bridgePing)
    const waiting = solve(loopback, { ref: second, internal: true, definition: oneFile('internal') })
    await until('it to wait', () => queue.waiting().get('one') === 1)
    await bridge(local, first, paths.bridgeReturn, end)
    await Promise.all([running, waiting])
    await until('the log to have it', () => gateway.log().includes(second))
  })

  test('asks for sources, takes no turn for it, and runs nothing', async () => {
    perNode = 1
    const [first, ref] = [randomUUID(), randomUUID()]
    const running = [solve(local, { ref: first }), solve(loopback, { ref, internal: true })]
    await bridge(local, first, paths.bridgePing)
    await bridge(loopback, ref, paths.bridgePing)
    const ask = (method: string, request?: Uint8Array) => bridge(loopback, ref, method, request)
    const refused = { status: 'PERMISSION_DENIED' }
    await expect(ask(paths.bridgeSolve, asked({ frontend: 'dockerfile.v0' }))).rejects.toMatchObject(refused)
    await expect(ask(paths.bridgeSolve, asked({ definition: program() }))).rejects.toMatchObject(refused)
    await expect(ask(paths.bridgeNewContainer)).rejects.toMatchObject(refused)
    await expect(ask(paths.bridgeExec)).rejects.toMatchObject(refused)
    await ask(paths.bridgeSolve, asked({ definition: oneFile('source') }))
    await Promise.all([bridge(local, first, paths.bridgeReturn, end), ask(paths.bridgeReturn, end)])
    await Promise.all(running)
  })
})

describe('a build of somebody else', () => {
  test('is not to be seen, driven, or used for its session', async () => {
    const [ref, session] = [randomUUID(), randomUUID()]
    // Without a definition the client drives it: it lasts until its result is returned.
    const mine = solve(local, { ref, session })
    const status = (by: GrpcConnection): Promise<void> =>
      by.stream(
        { method: paths.status, request: toBinary(StatusRequestSchema, create(StatusRequestSchema, { ref })) },
        () => undefined,
      )
    const returned = (by: GrpcConnection): Promise<unknown> =>
      by.unary({
        method: paths.bridgeReturn,
        metadata: { [buildIdHeader]: ref },
        request: toBinary(ReturnRequestSchema, create(ReturnRequestSchema, { result: {} })),
      })
    await expect(status(loopback)).rejects.toMatchObject({ status: 'NOT_FOUND' })
    await expect(returned(loopback)).rejects.toMatchObject({ status: 'NOT_FOUND' })
    await expect(solve(loopback, { session, definition: oneFile('x') })).rejects.toMatchObject({
      status: 'PERMISSION_DENIED',
    })
    await expect(solve(loopback, { session: `x:${session}`, definition: oneFile('x') })).rejects.toMatchObject({
      status: 'INVALID_ARGUMENT',
    })
    await expect(solve(loopback, { definition: fromSession(session) })).rejects.toMatchObject({
      status: 'PERMISSION_DENIED',
    })
    await expect(solve(loopback, { ref, definition: oneFile('x') })).rejects.toMatchObject({ status: 'NOT_FOUND' })
    await returned(local)
    await mine
  })
})

describe('the session of somebody else, named in a build of one’s own', () => {
  const session = randomUUID()
  const source = { identifier: 'local://context', attrs: { 'local.session': session } }
  const policy = { rules: [{ updates: { attrs: { 'oci.session': session } } }] }
  const ask = (path: string, request: Uint8Array) => ({ path, request })
  const bridgeSolve = (init: MessageInitShape<typeof BridgeSolveSchema>) =>
    ask(paths.bridgeSolve, toBinary(BridgeSolveSchema, create(BridgeSolveSchema, init)))
  const image = (init: MessageInitShape<typeof ResolveImageConfigRequestSchema>) =>
    ask(
      paths.bridgeResolveImage,
      toBinary(ResolveImageConfigRequestSchema, create(ResolveImageConfigRequestSchema, init)),
    )
  const meta = (init: MessageInitShape<typeof ResolveSourceMetaRequestSchema>) =>
    ask(
      paths.bridgeResolveSource,
      toBinary(ResolveSourceMetaRequestSchema, create(ResolveSourceMetaRequestSchema, init)),
    )
  test.each([
    ['an option', bridgeSolve({ frontend: 'dockerfile.v0', frontendOpt: { 'local-sessionid:context': session } })],
    ['an operation', bridgeSolve({ definition: fromSession(session) })],
    ['an operation with a prefix', bridgeSolve({ definition: fromSession(`x:${session}`) })],
    ['an input', bridgeSolve({ frontend: 'dockerfile.v0', frontendInputs: { x: fromSession(session) } })],
    ['a source policy', bridgeSolve({ definition: oneFile('x'), sourcePolicies: [policy] })],
    ['a question about an image', image({ sessionId: session })],
    ['a question about a source', meta({ source })],
    ['the source policy of a question', meta({ sourcePolicies: [policy] })],
  ])('as %s', async (_, { path, request }) => {
    const [theirs, own] = [randomUUID(), randomUUID()]
    const running = [solve(local, { ref: theirs, session }), solve(loopback, { ref: own })]
    const bridge = (by: GrpcConnection, ref: string, method: string, message: Uint8Array): Promise<unknown> =>
      by.unary({ method, metadata: { [buildIdHeader]: ref }, request: message, timeout: 20_000 })
    const end = toBinary(ReturnRequestSchema, create(ReturnRequestSchema, { result: {} }))
    // The daemon has both builds.
    await bridge(local, theirs, paths.bridgePing, new Uint8Array())
    await bridge(loopback, own, paths.bridgePing, new Uint8Array())
    const refusal = await bridge(loopback, own, path, request).catch((error: unknown) => error)
    await Promise.all([bridge(local, theirs, paths.bridgeReturn, end), bridge(loopback, own, paths.bridgeReturn, end)])
    await Promise.all(running)
    expect(String(refusal)).toMatch(/the session belongs to somebody else|cannot have a colon/)
  })
})

test('who starts builds too fast is told how long to wait, and others are not', async () => {
  policy = readPolicy(text(3), 'policy.toml')
  const ask = (by: GrpcConnection): Promise<unknown> => solve(by, { definition: oneFile('rate') })
  for (let i = 0; i < 3; i++) await ask(local)
  const refusal = await ask(local).catch((error: unknown) => error)
  expect(refusal).toMatchObject({ status: 'RESOURCE_EXHAUSTED' })
  expect(String(refusal)).toMatch(/try again in \d+ s/)
  await ask(loopback)
})
