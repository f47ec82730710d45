import { create, toBinary } from '@bufbuild/protobuf'
import { expect, test } from 'vitest'
import { transparentGateway } from '../../api/config.ts'
import { SolveRequestSchema, SolveResponseSchema } from '../../buildkit/gen/control_pb.ts'
import { paths } from '../../buildkit/methods.ts'
import { fakeClient, fakeContext, type FakeDaemon } from '../../../test/unit/fake-relay.ts'
import { createLogger } from '../../kernel/log.ts'
import { createActivity } from '../correlate/activity.ts'
import { createBindings } from '../correlate/bindings.ts'
import { createOwners } from '../correlate/owners.ts'
import { createImageWork } from '../delivery/image-work.ts'
import { createFixedDirectory } from '../directory/fixed.ts'
import { createInProgress } from '../images/in-progress.ts'
import { createImageIndex } from '../images/index.ts'
import { createLookups } from '../images/lookup.ts'
import type { Caller } from '../listener/caller.ts'
import { createFixedPlacer } from '../placement/fixed.ts'
import { createQueue } from '../queue/queue.ts'
import { createTelemetry } from '../telemetry/telemetry.ts'
import { relaySolve } from './solve.ts'

const caller: Caller = { kind: 'loopback', address: '127.0.0.1' }
const logger = createLogger({ level: 'silent' })
const digest = `sha256:${'a'.repeat(64)}`

/** A gateway in front of one node that builds one thing at a time, and who looks there for images. */
function gateway() {
  const directory = createFixedDirectory([{ name: 'n1', address: { path: '/nowhere' } }])
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
  })
  const lookups = createLookups({ index, inProgress, peer: (node) => ({ node, host: node, port: 1 }), load: () => 0 })
  const lookFor = (name: string, wait: number) => lookups.lookup({ name }, 'n9', wait, new AbortController().signal)
  const solve = (image: string, daemon: FakeDaemon) => {
    const exporters = [{ type: 'image', attrs: { name: image } }]
    const request = create(SolveRequestSchema, { ref: image, frontend: 'dockerfile.v0', exporters })
    const message = toBinary(SolveRequestSchema, request)
    const { call, cancel } = fakeClient({ n1: daemon }, { path: paths.solve, request: message, caller })
    return { ended: relaySolve(context, call), cancel }
  }
  return { queue, inProgress, lookFor, solve }
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
