import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { paths } from '../../../src/buildkit/methods.ts'
import { fieldOf, string, messages } from '../../../src/kernel/grpc/wire.ts'
import { type FrontDoor, openFrontDoor } from '../fixtures/front-door.ts'
import { fileDefinition, type RawClient, rawClient, type Target } from '../fixtures/raw-client.ts'
import { until } from '../fixtures/until.ts'

// Each script runs against a daemon and then against the gateway in front of two of them: what a client sees is the same.

let door: FrontDoor

beforeAll(async () => {
  door = await openFrontDoor()
})
afterAll(async () => {
  await door?.stop()
})

type Script = (open: () => RawClient, ref: () => string) => Promise<unknown[]>

/** @param together at the same time: for scripts that wait for long. */
async function sameOnBoth(script: Script, together = false): Promise<unknown[]> {
  const run = async (target: Target): Promise<unknown[]> => {
    const clients: RawClient[] = []
    const open = (): RawClient => {
      const client = rawClient(target)
      clients.push(client)
      return client
    }
    try {
      return await script(open, () => randomBytes(12).toString('hex'))
    } finally {
      for (const client of clients) client.cut()
    }
  }
  const first = run({ path: door.red.socket })
  if (!together) await first
  const [direct, through] = await Promise.all([first, run({ host: '127.0.0.1', port: door.gateway.port })])
  expect(through).toEqual(direct)
  return direct
}

const bridge = (method: string): string => `/moby.buildkit.v1.frontend.LLBBridge/${method}`
const of = (ref: string) => ({ 'buildkit-controlapi-buildid': ref })
const concat = (...parts: Uint8Array[]): Buffer => Buffer.concat(parts)

const solve = (client: RawClient, ref: string, ...more: Uint8Array[]) =>
  client.call(paths.solve, concat(fieldOf(1, ref), ...more))
/** A Solve that needs no client: one file. */
const withDefinition = (content: string): Uint8Array => fieldOf(2, fileDefinition('/hello', content).definition)
const status = (client: RawClient, ref: string) => client.call(paths.status, fieldOf(1, ref))

test('a build that its client drives: every question of LLBBridge, and one of the future', async () => {
  const seen = await sameOnBoth(async (open, name) => {
    const client = open()
    const ref = name()
    // Before the Solve that makes it a build.
    const early = client.call(bridge('Ping'), new Uint8Array(), of(ref))
    const build = solve(client, ref)
    const said: unknown[] = [(await early.ended).code]
    const ask = async (method: string, ...message: Uint8Array[]) => {
      const { code, messages: answers } = await client.call(bridge(method), concat(...message), of(ref)).ended
      return { code, answer: answers[0] ?? Buffer.alloc(0) }
    }
    const { definition, digest } = fileDefinition('/hello', 'from the client')
    const solved = await ask('Solve', fieldOf(1, definition), fieldOf(5, 1), fieldOf(6, 1))
    const [result] = messages(solved.answer, 3)
    const [reference] = messages(result ?? new Uint8Array(), 3)
    const id = string(reference ?? new Uint8Array(), 1)
    const file = await ask('ReadFile', fieldOf(1, id), fieldOf(2, '/hello'))
    const entries = await ask('ReadDir', fieldOf(1, id), fieldOf(2, '/'))
    const stat = await ask('StatFile', fieldOf(1, id), fieldOf(2, '/hello'))
    said.push(
      solved.code,
      file.code,
      string(file.answer, 1),
      entries.code,
      messages(entries.answer, 1).length,
      stat.code,
    )
    said.push((await ask('StatFile', fieldOf(1, id), fieldOf(2, '/not-there'))).code)
    said.push((await ask('Evaluate', fieldOf(1, id))).code)
    said.push((await ask('Warn', fieldOf(1, digest), fieldOf(2, 1), fieldOf(3, 'be careful'))).code)
    said.push((await ask('Inputs')).code, (await ask('OfTheFuture')).code)
    said.push((await ask('Return', fieldOf(1, result ?? new Uint8Array()))).code)
    said.push((await build.ended).code)
    return said
  })
  expect(seen.slice(0, 5)).toEqual([0, 0, 0, 'from the client', 0])
})

test('several Solves at once on one connection, with fields and methods of the future', async () => {
  const seen = await sameOnBoth(async (open, name) => {
    const client = open()
    const builds = [1, 2, 3, 4].map((n) => solve(client, name(), withDefinition(`file ${n}`), fieldOf(2000, 'new')))
    const codes = await Promise.all(builds.map(async ({ ended }) => (await ended).code))
    const future = await client.call('/moby.buildkit.v1.Control/OfTheFuture', new Uint8Array()).ended
    return [...codes, future.code]
  })
  expect(seen).toEqual([0, 0, 0, 0, 12])
})

test('the progress of a build is told to another connection too, during and after it', async () => {
  const seen = await sameOnBoth(async (open, name) => {
    const [client, other] = [open(), open()]
    const ref = name()
    const build = solve(client, ref)
    const follower = status(other, ref)
    const { definition, digest } = fileDefinition('/hello', `progress of ${ref}`)
    const solved = await client.call(bridge('Solve'), concat(fieldOf(1, definition), fieldOf(14, 1)), of(ref)).ended
    await client.call(bridge('Return'), fieldOf(1, new Uint8Array()), of(ref)).ended
    const ended = await build.ended
    const told = (all: readonly Buffer[]): boolean => Buffer.concat([...all]).includes(digest)
    const during = await follower.ended
    const after = await status(other, ref).ended
    return [solved.code, ended.code, during.code, told(during.messages), after.code, told(after.messages)]
  })
  expect(seen).toEqual([0, 0, 0, true, 0, true])
})

test('a ref in use is refused, and can be used again afterwards', async () => {
  const seen = await sameOnBoth(async (open, name) => {
    const client = open()
    const ref = name()
    const first = solve(client, ref)
    await client.call(bridge('Ping'), new Uint8Array(), of(ref)).ended
    const second = (await solve(client, ref, withDefinition('twice')).ended).code
    await client.call(bridge('Return'), fieldOf(1, new Uint8Array()), of(ref)).ended
    const ended = (await first.ended).code
    const again = (await solve(client, ref, withDefinition('again')).ended).code
    return [second !== 0, ended, again]
  })
  expect(seen[0]).toBe(true)
})

test('a connection that is lost ends its build, and the client that comes back builds with the same ref', async () => {
  const seen = await sameOnBoth(async (open, name) => {
    const client = open()
    const ref = name()
    solve(client, ref)
    await client.call(bridge('Ping'), new Uint8Array(), of(ref)).ended
    client.cut()
    const back = open()
    const code = await until('the ref to be free', async () => {
      const attempt = (await solve(back, ref, withDefinition('after the loss')).ended).code
      return attempt === 0 ? { attempt } : undefined
    })
    return [code.attempt]
  }, true)
  expect(seen).toEqual([0])
})

test('sessions before and after their Solve, and one that several Solves share', async () => {
  const seen = await sameOnBoth(async (open, name) => {
    const client = open()
    const tunnel = (id: string) =>
      client.call(paths.session, new Uint8Array(), {
        'x-docker-expose-session-uuid': id,
        'x-docker-expose-session-name': 'test',
      })
    const [early, late] = [name(), name()]
    const before = tunnel(early)
    const shared = await Promise.all(
      ['a', 'b'].map(async (text) => (await solve(client, name(), fieldOf(5, early), withDefinition(text)).ended).code),
    )
    const build = solve(client, name(), fieldOf(5, late), withDefinition('c'))
    const after = tunnel(late)
    const code = (await build.ended).code
    before.cancel()
    after.cancel()
    await Promise.all([before.ended, after.ended])
    return [...shared, code]
  })
  expect(seen).toEqual([0, 0, 0])
})

test('health is answered, also for services that are not there', async () => {
  const seen = await sameOnBoth(async (open) => {
    const client = open()
    const whole = await client.call(paths.healthCheck, new Uint8Array()).ended
    const unknown = await client.call(paths.healthCheck, fieldOf(1, 'no.such.Service')).ended
    const watch = client.call(paths.healthWatch, new Uint8Array())
    await until('the first state', () => watch.messages().length > 0)
    const state = watch.messages()[0]
    watch.cancel()
    return [whole.code, whole.messages[0]?.toString('hex'), unknown.code, state?.toString('hex')]
  })
  expect(seen).toEqual([0, '0801', 5, '0801'])
})
