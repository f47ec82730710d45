import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { everyRecord } from '../../../src/buildkit/history.ts'
import { buildIdHeader, paths } from '../../../src/buildkit/methods.ts'
import { fieldOf, messages } from '../../../src/kernel/grpc/wire.ts'
import { connectionOf, type FrontDoor, localAdministers, openFrontDoor } from '../fixtures/front-door.ts'
import { startGateway, type TestGateway } from '../fixtures/gateway.ts'
import { fileDefinition, type RawClient, rawClient } from '../fixtures/raw-client.ts'
import { until } from '../fixtures/until.ts'

// Gateways share nothing. A client whose calls of one build arrive at two of them, because it opened a second
// connection, gets what one buildkitd would say, or is told at once what is wrong; and the build itself is not hurt.

let door: FrontDoor
let other: TestGateway
const open = new Set<RawClient>()

beforeAll(async () => {
  door = await openFrontDoor()
  other = await startGateway({ nodes: { red: door.red, blue: door.blue }, config: { recordOwner: true } })
})
afterAll(async () => {
  for (const client of open) client.cut()
  await other?.close()
  await door?.stop()
})

function at(port: number): RawClient {
  const client = rawClient({ host: '127.0.0.1', port })
  open.add(client)
  return client
}
const name = (): string => randomBytes(12).toString('hex')
const bridge = (method: string): string => `/moby.buildkit.v1.frontend.LLBBridge/${method}`
const of = (ref: string) => ({ [buildIdHeader]: ref })
const on = (node: string): Uint8Array => fieldOf(7, Buffer.concat([fieldOf(1, 'insitu.node'), fieldOf(2, node)]))

/** A build that its client drives, at the first gateway on node red: it runs until `finish`. */
async function runningBuild() {
  const first = at(door.gateway.port)
  const ref = name()
  const solve = first.call(paths.solve, Buffer.concat([fieldOf(1, ref), on('red')]))
  expect((await first.call(bridge('Ping'), new Uint8Array(), of(ref)).ended).code).toBe(0)
  return {
    ref,
    first,
    finish: async () => {
      const { definition, digest } = fileDefinition('/hello', `of ${ref}`)
      const solved = await first.call(
        bridge('Solve'),
        Buffer.concat([fieldOf(1, definition), fieldOf(5, 1), fieldOf(6, 1)]),
        of(ref),
      ).ended
      const [result] = messages(solved.messages[0] ?? new Uint8Array(), 3)
      expect((await first.call(bridge('Return'), fieldOf(1, result ?? new Uint8Array()), of(ref)).ended).code).toBe(0)
      return { ended: await solve.ended, digest }
    },
  }
}

test('Status at another gateway shows the build, while it runs and afterwards', async () => {
  const { ref, finish } = await runningBuild()
  const second = at(other.port)
  const during = second.call(paths.status, fieldOf(1, ref))
  // It is open before the build goes on, and the build's steps arrive there.
  const { ended, digest } = await finish()
  expect(ended.code).toBe(0)
  const after = await second.call(paths.status, fieldOf(1, ref)).ended
  for (const { code, messages: told } of [await during.ended, after]) {
    expect(code).toBe(0)
    expect(Buffer.concat([...told]).includes(digest)).toBe(true)
  }
})

test('LLBBridge at another gateway is refused with the build’s name, and the build goes on', async () => {
  const { ref, finish } = await runningBuild()
  const second = at(other.port)
  const methods = ['Ping', 'Solve', 'Return', 'OfTheFuture']
  const calls = methods.map((method) => second.call(bridge(method), new Uint8Array(), of(ref)).ended)
  for (const { code, text } of await Promise.all(calls)) {
    expect(code).toBe(5)
    expect(text).toContain(`this gateway knows no running build ${ref}`)
  }
  expect((await finish()).ended.code).toBe(0)
})

test('the same ref at another gateway ends as at one daemon, on another node it is a build of its own: the first one is not hurt', async () => {
  const { ref, finish } = await runningBuild()
  const { definition } = fileDefinition('/hello', 'another')
  const solve = (client: RawClient, ...more: Uint8Array[]) =>
    client.call(paths.solve, Buffer.concat([fieldOf(1, ref), fieldOf(2, definition), ...more])).ended
  const direct = rawClient({ path: door.red.socket })
  open.add(direct)
  const [refused, seen] = [await solve(direct), await solve(at(other.port), on('red'))]
  expect(refused).toMatchObject({ code: 2, text: expect.stringContaining(`${ref} exists`) as string })
  expect([seen.code, seen.text]).toEqual([refused.code, refused.text])
  expect((await solve(at(other.port), on('blue'))).code).toBe(0)
  expect((await finish()).ended.code).toBe(0)
})

test('the ref of somebody else’s build at another gateway opens nothing of it, before and after the daemon was asked', async () => {
  const stranger = await startGateway({
    nodes: { red: door.red, blue: door.blue },
    config: { recordOwner: true },
    admission: localAdministers,
  })
  const alice = connectionOf(door, await door.person('alice'))
  const attacker = at(stranger.port)
  const ref = name()
  const onRed = Buffer.concat([fieldOf(1, ref), on('red')])
  const bridgeOf = (method: string, request: Uint8Array) =>
    alice.unary({ method: bridge(method), metadata: of(ref), request, timeout: 20_000 })
  try {
    const build = alice.unary({ method: paths.solve, request: onRed, timeout: 60_000 })
    await bridgeOf('Ping', new Uint8Array())
    const direct = rawClient({ path: door.red.socket })
    open.add(direct)
    await until('its record', async () => {
      const { messages: records } = await direct.call(paths.listenBuildHistory, everyRecord()).ended
      return Buffer.concat([...records]).includes(ref)
    })
    // These wait for the build that the other call asks for.
    const early = ['Ping', 'Return'].map(
      (method) => attacker.call(bridge(method), Uint8Array.of(0x0a, 0), of(ref)).ended,
    )
    const [solved, ...meanwhile] = await Promise.all([attacker.call(paths.solve, onRed).ended, ...early])
    const after = await attacker.call(bridge('Return'), Uint8Array.of(0x0a, 0), of(ref)).ended
    expect(solved.code).toBe(5)
    for (const { code } of [...meanwhile, after]) expect(code).toBe(5)
    await bridgeOf('Return', Uint8Array.of(0x0a, 0))
    await build
  } finally {
    alice.close()
    attacker.cut()
    await stranger.close()
  }
})

test('a session at another gateway is as none: the daemon says which one it misses, and nobody hangs', async () => {
  const session = name()
  const solve = (client: RawClient) =>
    client.call(paths.solve, Buffer.concat([fieldOf(1, name()), fieldOf(6, 'dockerfile.v0'), fieldOf(5, session)]))
  const direct = rawClient({ path: door.red.socket })
  open.add(direct)
  const tunnel = at(other.port).call(paths.session, new Uint8Array(), {
    'x-docker-expose-session-uuid': session,
    'x-docker-expose-session-name': 'test',
  })
  const [expected, seen] = await Promise.all([solve(direct).ended, solve(at(door.gateway.port)).ended])
  expect([seen.code, seen.text]).toEqual([expected.code, expected.text])
  expect(seen.text).toContain(session)
  tunnel.cancel()
  await tunnel.ended
})
