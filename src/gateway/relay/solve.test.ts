import { setTimeout as sleep } from 'node:timers/promises'
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { expect, test } from 'vitest'
import { transparentGateway } from '../../api/config.ts'
import { SolveRequestSchema, SolveResponseSchema } from '../../buildkit/gen/control_pb.ts'
import { paths } from '../../buildkit/methods.ts'
import { fakeClient, fakeContext, type FakeDaemon } from '../../../test/unit/fake-relay.ts'
import { InsituError } from '../../kernel/errors.ts'
import { createLogger } from '../../kernel/log.ts'
import { createActivity } from '../correlate/activity.ts'
import { createBindings } from '../correlate/bindings.ts'
import { createOwners } from '../correlate/owners.ts'
import { createImageWork } from '../delivery/image-work.ts'
import { createFixedDirectory, type FixedNode } from '../directory/fixed.ts'
import { createInProgress } from '../images/in-progress.ts'
import { createImageIndex } from '../images/index.ts'
import { createLookups } from '../images/lookup.ts'
import type { Caller } from '../listener/caller.ts'
import { createFixedPlacer } from '../placement/fixed.ts'
import { admitAll } from '../policy/admission.ts'
import { createQueue } from '../queue/queue.ts'
import { fallBack } from '../split/fallback.ts'
import { createTelemetry } from '../telemetry/telemetry.ts'
import type { RelayContext } from './context.ts'
import { relaySolve } from './solve.ts'

const caller: Caller = { kind: 'loopback', address: '127.0.0.1' }
const logger = createLogger({ level: 'silent' })
const digest = `sha256:${'a'.repeat(64)}`

const nowhere = { path: '/nowhere' }

/** A gateway in front of nodes that build one thing at a time, and who looks there for images. */
function gateway(nodes: readonly FixedNode[] = [{ name: 'n1', address: nowhere }], more: Partial<RelayContext> = {}) {
  const directory = createFixedDirectory(nodes)
  const [index, inProgress, activity] = [createImageIndex(), createInProgress(), createActivity()]
  const queue = createQueue({ perNode: () => 1, tenant: () => ({ name: 'all', weight: 1, builds: 0 }) })
  const images = createImageWork({
    ...{ index, inProgress, logger, config: transparentGateway.delivery },
    agents: {
      built: () => Promise.resolve({ refused: [] }),
      drop: () => Promise.resolve(),
      retract: () => Promise.resolve(),
      pull: () => Promise.resolve(0),
    },
    ...{ able: () => [], wake: () => Promise.resolve(), stuck: () => Promise.resolve([]) },
    metrics: { delivered: 0, failed: 0, bytes: 0, running: 0 },
  })
  const context = fakeContext([], {
    ...{ directory, activity, images, turns: queue, config: transparentGateway, logger },
    placer: createFixedPlacer({ directory, running: (node) => activity.on(node) }),
    ...{ builds: createBindings({ linger: 0 }), sessions: createBindings({ linger: 0 }) },
    sessionOwners: createOwners(),
    telemetry: createTelemetry({ logger, running: () => 0, clients: () => 0 }),
    ...more,
  })
  const lookups = createLookups({ index, inProgress, peer: (node) => ({ node, host: node, port: 1 }), load: () => 0 })
  const lookFor = (name: string, wait: number) => lookups.lookup({ name }, 'n9', wait, new AbortController().signal)
  const solve = (image: string, daemon: FakeDaemon, frontendAttrs: Record<string, string> = {}) => {
    const exporters = [{ type: 'image', attrs: { name: image } }]
    const request = create(SolveRequestSchema, { ref: image, frontend: 'dockerfile.v0', frontendAttrs, exporters })
    const message = toBinary(SolveRequestSchema, request)
    const daemons = Object.fromEntries(nodes.map((node) => [node.name, daemon]))
    const { call, cancel } = fakeClient(daemons, { path: paths.solve, request: message, caller })
    return { ended: relaySolve(context, call), cancel }
  }
  return { queue, inProgress, builds: context.builds, lookFor, solve }
}

const answer = toBinary(
  SolveResponseSchema,
  create(SolveResponseSchema, { exporterResponse: { 'containerimage.digest': digest } }),
)

/** A daemon whose build ends when it is told. */
function building(): { readonly daemon: FakeDaemon; readonly end: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>()
  const daemon: FakeDaemon = async function* () {
    await promise
    yield answer
  }
  return { daemon, end: resolve }
}

const name = 'docker.io/library/second:1'

test('who looks for a name hears of its build also while that waits for its turn', async () => {
  const { queue, inProgress, lookFor, solve } = gateway()
  const [one, two] = [building(), building()]
  const [first, second] = [solve('first:1', one.daemon), solve('second:1', two.daemon)]
  await expect.poll(() => queue.waiting().get('n1')).toBe(1)
  await expect.poll(() => inProgress.of('docker.io/library/first:1')).toEqual({ node: 'n1' })
  expect(await lookFor(name, 0)).toEqual({ state: 'building', node: undefined })
  const held = lookFor(name, 20_000)

  one.end()
  await first.ended
  await expect.poll(() => inProgress.of(name)).toEqual({ node: 'n1' })
  two.end()
  expect(await held).toMatchObject({ state: 'here', image: { name, digest }, peers: [{ node: 'n1' }] })
  await second.ended
  expect(inProgress.names).toBe(0)
})

test('who looks for a name hears at once that its build was given up in the queue', async () => {
  const { queue, inProgress, lookFor, solve } = gateway()
  const one = building()
  const first = solve('first:1', one.daemon)
  const second = solve('second:1', building().daemon)
  const refused = second.ended.catch((error: unknown) => error)
  await expect.poll(() => queue.waiting().get('n1')).toBe(1)
  const held = lookFor(name, 20_000)
  second.cancel()
  expect(await refused).toMatchObject({ code: 'CANCELLED' })
  expect(await held).toMatchObject({
    state: 'failed',
    reason: expect.stringContaining('the client gave the build up') as string,
  })
  one.end()
  await first.ended
  expect(inProgress.names).toBe(0)
})

/** A gateway of two architectures, with a build of both of them that goes back to one node, and who waits for its name. */
function goesBack(onSecondNames: () => Promise<void>) {
  let asked = 0
  const admission = { ...admitAll, names: () => ((asked += 1) > 1 ? onSecondNames() : Promise.resolve()) }
  const nodes = ['amd64', 'arm64'].map((arch): FixedNode => ({
    ...{ name: arch, address: nowhere, native: [`linux/${arch}`] },
  }))
  const { solve, builds, lookFor, inProgress } = gateway(nodes, { admission })
  const whole = building()
  const given = Promise.withResolvers<void>()
  const daemon: FakeDaemon = async function* (path, request) {
    if (path === paths.bridgeReturn) given.resolve()
    if (path !== paths.solve) return yield new Uint8Array()
    if (fromBinary(SolveRequestSchema, request).ref.endsWith('-whole')) return yield* whole.daemon(path, request)
    await given.promise
    throw new InsituError('GIVEN_UP', 'it is given up', { status: 'CANCELLED' })
  }
  const { ended } = solve('second:1', daemon, { platform: 'linux/amd64,linux/arm64' })
  const goBack = async (): Promise<void> => {
    await expect.poll(() => inProgress.of(name)).toEqual({ node: 'amd64' })
    const hold = await builds.wait('second:1', 1000)
    expect(hold?.value.split?.parts).toHaveLength(2)
    if (hold) void fallBack(hold.value).catch(() => undefined)
    hold?.release()
  }
  return { ended, goBack, whole, lookFor, inProgress }
}

test('who looks for a name hears nothing of its build’s way from several nodes back to one, and then of that one', async () => {
  const onItsWay = Promise.withResolvers<void>()
  const { ended, goBack, whole, lookFor, inProgress } = goesBack(async () => {
    onItsWay.resolve()
    await sleep(50)
  })
  const states: string[] = []
  await expect.poll(() => inProgress.of(name)).toBeDefined()
  const held = lookFor(name, 20_000).finally(() => states.push('answered'))
  await goBack()
  await onItsWay.promise
  expect((await lookFor(name, 0)).state).toBe('building')
  await sleep(100)
  expect([states, inProgress.names]).toEqual([[], 1])
  whole.end()
  expect(await held).toMatchObject({ state: 'here', image: { name, digest } })
  await ended
  expect(inProgress.names).toBe(0)
})

test('nor is it kept where no node may build all of it: the reason is what it ended with', async () => {
  const refusal = new InsituError('POLICY', 'not that name there', { status: 'PERMISSION_DENIED' })
  const { ended, goBack, lookFor, inProgress } = goesBack(() => Promise.reject(refusal))
  await expect.poll(() => inProgress.of(name)).toBeDefined()
  const held = lookFor(name, 20_000)
  await goBack()
  await expect(ended).rejects.toThrow(refusal)
  expect(await held).toMatchObject({
    state: 'failed',
    reason: expect.stringContaining('not that name there') as string,
  })
  expect(inProgress.names).toBe(0)
})
