import { expect, test } from 'vitest'
import type { GatewayConfig } from '../../api/config.ts'
import type { BuiltAnswer, BuiltImage } from '../../api/images.ts'
import { createLogger } from '../../kernel/log.ts'
import { createInProgress } from '../images/in-progress.ts'
import { createImageIndex } from '../images/index.ts'
import { createProgress } from '../progress/progress.ts'
import type { AgentCalls } from './agent-calls.ts'
import { createImageWork, type ImageWorkOptions } from './image-work.ts'
import type { DeliveryWish } from './targets.ts'

const digest = `sha256:${'a'.repeat(64)}`
const name = 'docker.io/library/app:1'

/** A build on n1 whose pods will run on n2 and n3. */
async function finish(
  config: Partial<GatewayConfig['delivery']>,
  wish: DeliveryWish,
  pull: AgentCalls['pull'],
  built: () => Promise<BuiltAnswer> = () => Promise.resolve({ refused: [] }),
  {
    lost,
    told,
    older = [],
    meanwhile = [],
  }: Partial<Pick<ImageWorkOptions, 'lost' | 'told'>> & {
    readonly older?: readonly string[]
    /** What a node turns out to have while it is told to give up older images. */
    readonly meanwhile?: readonly BuiltImage[]
  } = {},
) {
  const index = createImageIndex()
  for (const node of older) index.add(node, { name, digest: `sha256:${'b'.repeat(64)}`, version: 1 })
  const dropped: string[] = []
  const inProgress = createInProgress()
  const progress = createProgress()
  const said: string[] = []
  progress.follow((message) => said.push(Buffer.from(message).toString('latin1')))
  const metrics = { delivered: 0, failed: 0, bytes: 0, running: 0 }
  const work = createImageWork({
    ...{ index, inProgress, metrics, telling: 1500, logger: createLogger({ level: 'silent' }) },
    config: { to: 'targets', required: false, timeout: 600, perSource: 2, ...config },
    agents: {
      built,
      drop(node) {
        dropped.push(node)
        for (const image of meanwhile) index.add(node, image)
        return Promise.resolve()
      },
      retract: () => Promise.resolve(),
      pull,
    },
    able: () => ['n1', 'n2', 'n3', 'n4'],
    wake: () => Promise.resolve(),
    stuck: () => Promise.resolve([]),
    ...(lost ? { lost } : {}),
    ...(told ? { told } : {}),
  })
  const placed = ['n1', 'n2', 'n3']
  const { signal } = new AbortController()
  const error = await work.finish(
    { node: 'n1', placed, named: new Map([[name, digest]]), wish, progress, signal },
    work.begin([name]),
  )
  const nodes = ['n1', 'n2', 'n3', 'n4'].filter((node) => index.of(node).some((image) => image.digest === digest))
  return { error, metrics, nodes, dropped, said: said.join('\n') }
}

const hangsAtThree: AgentCalls['pull'] = (node, _image, _peers, onBytes, signal) => {
  onBytes(40, 100)
  if (node !== 'n3') return Promise.resolve(100)
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)))
}

test('a node that does not get it within the time is named, and the build succeeds by the default policy', async () => {
  const { error, metrics, nodes, said } = await finish({ timeout: 0.05 }, {}, hangsAtThree)
  expect(error).toBeUndefined()
  expect(nodes).toEqual(['n1', 'n2'])
  expect(metrics).toEqual({ delivered: 1, failed: 1, bytes: 100, running: 0 })
  expect(said).toContain(`[insitu] deliver ${name} to node n2`)
  expect(said).toContain(`[insitu] deliver ${name} to node n3`)
  expect(said).toContain('[insitu] delivery is not complete')
  expect(said).toContain('could not be delivered to n3')
})

const sentence = `${name} is on node n1 and could not be delivered to n3`

test('a node that got the newest image while it was told to give up older ones still counts as one that has it', async () => {
  const told = (): string[] => ['n3']
  const meanwhile = [{ name, digest, version: Number.MAX_SAFE_INTEGER }]
  const { nodes } = await finish({ to: 'none' }, {}, () => Promise.resolve(1), built, { told, meanwhile })
  expect(nodes).toEqual(['n1', 'n3'])
})

test.each([
  ['the configuration', { required: true }, {}, [sentence]],
  ['the client', { required: false }, { required: true }, [sentence]],
  ['the client, against the configuration', { required: true }, { required: false }, []],
])('whether the build fails then is said by %s', async (_, config, wish, expected) => {
  const { error } = await finish({ ...config, timeout: 0.05 }, wish, hangsAtThree)
  expect(error ? [error.code] : []).toEqual(expected.map(() => 'DELIVERY'))
  expect(error ? [error.message] : []).toEqual(expected.map((one) => expect.stringContaining(one) as string))
})

/** As `pull` of a node that says no word: the test would not end. */
const silentAtThree: AgentCalls['pull'] = (node) => (node === 'n3' ? new Promise(() => undefined) : Promise.resolve(1))
const built = () => Promise.resolve({ refused: [] })
const lostAt = (...nodes: string[]) => ({
  lost: (node: string) => (nodes.includes(node) ? 'the node is not ready' : undefined),
})

test('a node that is not ready is named, and nothing waits for it; the build fails only where delivery is required', async () => {
  const { error, metrics, nodes, said } = await finish({}, {}, silentAtThree, built, lostAt('n3'))
  expect(error).toBeUndefined()
  expect(nodes).toEqual(['n1', 'n2'])
  expect(metrics).toEqual({ delivered: 1, failed: 1, bytes: 1, running: 0 })
  expect(said).toContain(`${sentence} (the node is not ready); pods there get it by the mirror when it works again`)
  const required = await finish({}, { required: true }, silentAtThree, built, lostAt('n3'))
  expect(required.nodes).toEqual(['n1', 'n2'])
  expect(required.error).toMatchObject({ code: 'DELIVERY', message: `${sentence} (the node is not ready)` })
})

test('of the nodes that only could run it those that are not ready are left out', async () => {
  const { error, nodes, said } = await finish({ to: 'all', required: true }, {}, silentAtThree, built, {
    ...lostAt('n3', 'n4'),
  })
  expect(nodes).toEqual(['n1', 'n2'])
  expect(error?.message).toBe(`${sentence} (the node is not ready)`)
  expect(said).not.toContain('n4')
})

test('an older image on a node that is not ready is not waited for', async () => {
  const { dropped } = await finish({ to: 'none' }, {}, silentAtThree, built, {
    ...{ older: ['n2', 'n3'] },
    ...lostAt('n3'),
  })
  expect(dropped).toEqual(['n2'])
})

test('a node that has pulled an older image a moment ago loses it too, though its agent has not said yet that it has it', async () => {
  const told = (asked: string): string[] => (asked === name ? ['n1', 'n3'] : [])
  const { dropped } = await finish({ to: 'none' }, {}, () => Promise.resolve(1), built, { older: ['n2'], told })
  expect(dropped).toEqual(['n2', 'n3'])
})

test.each([
  ['targets', ['n1', 'n2', 'n3']],
  ['none', ['n1']],
  ['all', ['n1', 'n2', 'n3', 'n4']],
  [2, ['n1', 'n2']],
] as const)('deliver = %s in the configuration holds for builds that say nothing', async (to, expected) => {
  const { nodes } = await finish({ to }, {}, () => Promise.resolve(1))
  expect(nodes).toEqual(expected)
})

test('a build whose name means another build on its node is delivered nowhere, and says so', async () => {
  const answer = { refused: [], overtaken: [name] }
  const { error, metrics, nodes, said } = await finish(
    { to: 'all' },
    {},
    () => Promise.resolve(1),
    () => Promise.resolve(answer),
  )
  expect(error).toBeUndefined()
  expect(nodes).toEqual([])
  expect(metrics).toEqual({ delivered: 0, failed: 0, bytes: 0, running: 0 })
  expect(said).toContain(`${name}: another build that ended at the same moment has taken the name on node n1`)
})

test('a build whose agent cannot be told of it fails: its node may put the image before it back', async () => {
  const { error, metrics, nodes, said } = await finish(
    { to: 'all' },
    {},
    () => Promise.resolve(1),
    () => Promise.reject(new Error('no answer')),
  )
  expect(error).toMatchObject({
    code: 'IMAGE_UNRECORDED',
    status: 'UNAVAILABLE',
    message: `the agent of node n1, where ${name} was built, could not be told of it`,
  })
  expect(nodes).toEqual([])
  expect(metrics).toEqual({ delivered: 0, failed: 0, bytes: 0, running: 0 })
  expect(said).toContain('no answer')
})

test('an agent that does not answer at once is told again', async () => {
  let asked = 0
  const { error, nodes } = await finish(
    { to: 'targets' },
    {},
    () => Promise.resolve(1),
    () => (++asked < 3 ? Promise.reject(new Error('no answer')) : Promise.resolve({ refused: [] })),
  )
  expect(error).toBeUndefined()
  expect(asked).toBe(3)
  expect(nodes).toEqual(['n1', 'n2', 'n3'])
})
