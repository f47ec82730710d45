import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf'
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { SolveRequestSchema } from '../../../src/buildkit/gen/control_pb.ts'
import { ReturnRequestSchema, SolveRequestSchema as BridgeSolveSchema } from '../../../src/buildkit/gen/gateway_pb.ts'
import { DefinitionSchema } from '../../../src/buildkit/gen/ops_pb.ts'
import { buildIdHeader, paths } from '../../../src/buildkit/methods.ts'
import { createAdmission } from '../../../src/gateway/policy/enforce.ts'
import { readPolicy } from '../../../src/gateway/policy/read-policy.ts'
import { type GrpcConnection, grpcConnection } from '../../../src/kernel/grpc/connection.ts'
import { createLogger } from '../../../src/kernel/log.ts'
import { startAgent, type TestAgent } from '../fixtures/agent.ts'
import { buildctl } from '../fixtures/clients.ts'
import { startNode, type TestNode } from '../fixtures/containerd.ts'
import { createWorkspace, type Workspace } from '../fixtures/context.ts'
import { startGateway, type TestGateway } from '../fixtures/gateway.ts'
import { inGroup, oneFile } from '../fixtures/llb.ts'

/** What callers of this test may: everything that is asked for below is outside of it. */
const policy = readPolicy(
  `
[[tenant]]
name = "team"
match = { loopback = true }
names = ["reg.example.com/team/"]
exporters = ["image"]
frontends = ["dockerfile.v0", "llb", "gateway.v0:docker/dockerfile"]
platforms = ["linux/amd64"]
cacheTo = ["inline"]
cacheFrom = []
`,
  'policy.toml',
)

const none = { def: [] }
const victim = 'registry.k8s.io/pause:3.10'
const mine = 'reg.example.com/team/app:v1'

let node: TestNode
let agent: TestAgent
let gateway: TestGateway
let work: Workspace
let door: GrpcConnection
let daemon: GrpcConnection

beforeAll(async () => {
  work = await createWorkspace()
  node = await startNode()
  agent = startAgent(node, await node.pod())
  await agent.ready()
  const socket = `/proc/${agent.inside.pid}/root/run/buildkit/buildkitd.sock`
  const unix = join(await work.directory(), 's')
  gateway = await startGateway({
    nodes: { one: { socket } },
    listen: [`unix://${unix}`],
    admission: createAdmission({ policy: () => policy, logger: createLogger({ level: 'silent' }) }),
  })
  door = grpcConnection(unix)
  daemon = grpcConnection(socket)
})
afterAll(async () => {
  door?.close()
  daemon?.close()
  await gateway?.close()
  await agent?.stop()
  await node?.stop()
  await work?.remove()
})

type Init = MessageInitShape<typeof SolveRequestSchema>
const exporter = (name: string) => ({ type: 'image', attrs: { name } })
const image = (name: string) => ({ exporters: [exporter(name)] })
/** @param init `definition: none` leaves it out. */
const solve = (through: GrpcConnection, { definition, ...init }: Init): Promise<Uint8Array> => {
  const message = create(SolveRequestSchema, { ref: randomUUID(), ...init })
  if (definition !== none) message.definition = create(DefinitionSchema, definition ?? oneFile('attack'))
  return through.unary({ method: paths.solve, timeout: 60_000, request: toBinary(SolveRequestSchema, message) })
}
const images = async (): Promise<string[]> =>
  (await node.ctr(['images', 'ls', '-q']))
    .split('\n')
    // CRI names every image by its id as well.
    .filter((name) => name !== '' && name !== mine && !name.startsWith('sha256:'))

test('what the policy allows is built, past the door anything is', async () => {
  await solve(door, image(mine))
  expect(await node.ctr(['images', 'ls', '-q'])).toContain(mine)
  // The daemon itself would take every one of the attacks: here is one of them.
  await solve(daemon, { exporters: [{ type: 'image', attrs: { name: '*', 'image.name': victim } }] })
  expect(await images()).toEqual([victim])
  await node.ctr(['images', 'rm', victim])
})

describe('each of these is PERMISSION_DENIED, and containerd has no such name', () => {
  const names = 'tenant "team": names'
  test.each<[string, Init, string]>([
    ['another’s name', image(victim), names],
    ['a list with another’s name', image(`${mine},${victim}`), names],
    [
      'a name of the frontend',
      { exporters: [{ type: 'image', attrs: { name: '*', 'image.name': victim } }] },
      'always',
    ],
    ['a list with a name of the frontend', image(`${mine},*`), 'always'],
    ['legacy fields', { exporterDeprecated: 'image', exporterAttrsDeprecated: { name: victim } }, names],
    [
      'legacy fields beside the list',
      { ...image(mine), exporterDeprecated: 'image', exporterAttrsDeprecated: { name: victim } },
      names,
    ],
    ['a short name', image('pause'), names],
    ['a name in another spelling', image('index.docker.io/library/pause'), names],
    ['a longer path that begins alike', image('reg.example.com/teammate/app'), names],
    ['a name with a line break', image('reg.example.com/team/app\npause'), names],
    ['no name but a prefix', { exporters: [{ type: 'image', attrs: { 'dangling-name-prefix': victim } }] }, names],
    [
      'a prefix with a list in it',
      { exporters: [{ type: 'image', attrs: { 'dangling-name-prefix': `${victim},x` } }] },
      names,
    ],
    ['a second exporter', { exporters: [exporter(mine), exporter(victim)] }, names],
    ['another exporter', { exporters: [{ type: 'local', attrs: {} }] }, 'tenant "team": exporters'],
    ['exporters from the session', { ...image(mine), enableSessionExporter: true }, 'always'],
    ['the node’s network', { ...image(mine), entitlements: ['network.host'] }, 'tenant "team": entitlements'],
    ['all privileges', { ...image(mine), entitlements: ['security.insecure'] }, 'tenant "team": entitlements'],
    ['a device', { ...image(mine), entitlements: ['device=vendor.com/gpu'] }, 'tenant "team": entitlements'],
    ['a control group in raw LLB', { ...image(mine), definition: inGroup('/attack') }, 'always'],
    [
      'a control group in an input of a frontend',
      { ...image(mine), definition: none, frontend: 'dockerfile.v0', frontendInputs: { x: inGroup('/attack') } },
      'always',
    ],
    [
      'a frontend image',
      {
        ...image(mine),
        definition: undefined,
        frontend: 'gateway.v0',
        frontendAttrs: { source: 'evil.example.com/x' },
      },
      'tenant "team": frontends',
    ],
    [
      'a frontend image by build argument',
      {
        ...{ ...image(mine), definition: none, frontend: 'dockerfile.v0' },
        frontendAttrs: { 'build-arg:BUILDKIT_SYNTAX': 'evil.example.com/x' },
      },
      'tenant "team": frontends',
    ],
    [
      'a frontend image that an allowed one hands over to',
      {
        ...{ ...image(mine), definition: none, frontend: 'gateway.v0' },
        frontendAttrs: { source: 'docker/dockerfile:1', 'build-arg:BUILDKIT_SYNTAX': 'evil.example.com/x' },
      },
      'tenant "team": frontends',
    ],
    ['a platform', { ...image(mine), frontendAttrs: { platform: 'linux/arm64' } }, 'tenant "team": platforms'],
    [
      'a cache elsewhere',
      { ...image(mine), cache: { exports: [{ type: 'registry', attrs: { ref: 'evil.example.com/x' } }] } },
      'tenant "team": cacheTo',
    ],
    [
      'a cache from elsewhere',
      { ...image(mine), cache: { importRefsDeprecated: ['evil.example.com/x'] } },
      'tenant "team": cacheFrom',
    ],
    ['a build that pretends to be a question', { ...image(victim), internal: true }, names],
  ])('%s', async (_, init, rule) => {
    const refusal = await solve(door, init).catch((error: unknown) => error)
    expect(refusal).toMatchObject({ status: 'PERMISSION_DENIED' })
    expect(String(refusal)).toContain(`(rule: ${rule})`)
    expect(await images()).toEqual([])
  })

  test('a map with the name twice: what the door read is what the daemon gets', async () => {
    const entry = (name: string): Uint8Array =>
      toBinary(SolveRequestSchema, create(SolveRequestSchema, { exporterAttrsDeprecated: { name } }))
    const start = toBinary(
      SolveRequestSchema,
      create(SolveRequestSchema, { ref: randomUUID(), definition: oneFile('twice'), exporterDeprecated: 'image' }),
    )
    const ask = (...parts: Uint8Array[]): Promise<unknown> =>
      door.unary({ method: paths.solve, timeout: 60_000, request: Buffer.concat([start, ...parts]) })
    await expect(ask(entry(mine), entry(victim))).rejects.toMatchObject({ status: 'PERMISSION_DENIED' })
    await ask(entry(victim), entry(mine))
    expect(await images()).toEqual([])
  })

  test('another Solve under the ref of a build that was allowed', async () => {
    const ref = randomUUID()
    const results = await Promise.allSettled([
      solve(door, { ref, ...image(mine) }),
      solve(door, { ref, ...image(victim) }),
    ])
    expect(results[1]).toMatchObject({ status: 'rejected', reason: { status: 'PERMISSION_DENIED' } })
    expect(await images()).toEqual([])
  })

  test('a result that a client returns with a name in it, and every step on the way there', async () => {
    const ref = randomUUID()
    const bridge = (method: string, request: Uint8Array): Promise<Uint8Array> =>
      door.unary({ method, request, metadata: { [buildIdHeader]: ref }, timeout: 30_000 })
    const bridgeSolve = (init: MessageInitShape<typeof BridgeSolveSchema>): Promise<Uint8Array> =>
      bridge(paths.bridgeSolve, toBinary(BridgeSolveSchema, create(BridgeSolveSchema, init)))
    const whole = solve(door, { ref, definition: none, ...image(mine) })
    const ended = whole.then(
      () => 'ok',
      (error: unknown) => String(error),
    )
    const name = Buffer.from(victim)
    await expect(bridgeSolve({ definition: inGroup('/attack') })).rejects.toMatchObject({ status: 'PERMISSION_DENIED' })
    await expect(
      bridgeSolve({ frontend: 'gateway.v0', frontendOpt: { source: 'evil.example.com/x' } }),
    ).rejects.toMatchObject({ status: 'PERMISSION_DENIED' })
    const syntax = { source: 'docker/dockerfile:1', 'build-arg:BUILDKIT_SYNTAX': 'evil.example.com/x' }
    await expect(bridgeSolve({ frontend: 'gateway.v0', frontendOpt: syntax })).rejects.toMatchObject({
      status: 'PERMISSION_DENIED',
    })
    await expect(
      bridgeSolve({
        definition: oneFile('attack'),
        final: true,
        exporterAttr: Buffer.from(JSON.stringify({ 'image.name': name.toString('base64') })),
      }),
    ).rejects.toMatchObject({ status: 'PERMISSION_DENIED' })
    const returned = (metadata: Record<string, Uint8Array>): Promise<Uint8Array> =>
      bridge(paths.bridgeReturn, toBinary(ReturnRequestSchema, create(ReturnRequestSchema, { result: { metadata } })))
    await expect(returned({ 'image.name': name })).rejects.toMatchObject({ status: 'PERMISSION_DENIED' })
    await returned({})
    expect(await ended).toBe('ok')
    expect(await images()).toEqual([])
  })
})

describe('what is taken away without a word', () => {
  const dockerfile = 'RUN cat /proc/self/cgroup\n'
  test('the control group of a frontend’s option', async () => {
    const context = await work.context(`${dockerfile}# ${randomUUID()}\n`)
    const args = ['--opt', 'cgroup-parent=/attack', '--no-cache']
    const tamed = await buildctl(gateway.address, context, args).ended
    expect(tamed, tamed.output).toMatchObject({ exitCode: 0 })
    expect(tamed.output).toMatch(/\d+:\S*:\//)
    expect(tamed.output).not.toContain('/attack')
    const direct = await agent.buildctl([
      ...['build', '--progress=plain', '--frontend=dockerfile.v0', ...args],
      ...[`--local=context=${context}`, `--local=dockerfile=${context}`],
    ])
    expect(direct.stderr).toContain('/attack')
  })
  test('a Dockerfile’s wish for another frontend: the daemon’s own reads it', async () => {
    const context = await work.context(dockerfile)
    const { readFile, writeFile } = await import('node:fs/promises')
    const file = join(context, 'Dockerfile')
    await writeFile(file, `# syntax=evil.example.com/frontend\n${await readFile(file, 'utf8')}`)
    const result = await buildctl(gateway.address, context).ended
    expect(result, result.output).toMatchObject({ exitCode: 0 })
    expect(result.output).not.toContain('evil.example.com')
  })
})

test('Prune is for administrators', async () => {
  await expect(
    door.unary({ method: '/moby.buildkit.v1.Control/Prune', request: new Uint8Array() }),
  ).rejects.toMatchObject({ status: 'PERMISSION_DENIED' })
})
