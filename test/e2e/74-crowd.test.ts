import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { Build } from '../../src/api/builds/builds.ts'
import { waitFor } from '../lab/wait.ts'
import { startCommand } from './fixtures/background.ts'
import { type BuildsNamespace, openBuilds } from './fixtures/builds.ts'
import { type Controllers, configureControllers } from './fixtures/controllers.ts'
import { most, running, stepTimes, timedBuild } from './fixtures/crowd.ts'
import { ensureInstalled, type Installed } from './fixtures/insitu.ts'

const id = randomBytes(3).toString('hex')
const limits = { perNamespace: 3, perNode: 2 }
/** Sixteen Builds and eight; every fifth names node1. */
const crowd = [
  { namespace: `crowd-${id}-a`, count: 16 },
  { namespace: `crowd-${id}-b`, count: 8 },
] as const
const total = 24
const names = (count: number): string[] => Array.from({ length: count }, (_, i) => `b-${i + 1}`)
const namesNode = (name: string): boolean => Number(name.slice(2)) % 5 === 0
let insitu: Installed
let controllers: Controllers
let homes: readonly BuildsNamespace[] = []

beforeAll(async () => {
  insitu = await ensureInstalled()
  controllers = await configureControllers(
    insitu,
    `[controller]\nbuildsPerNamespace = ${limits.perNamespace}\nbuildsPerNode = ${limits.perNode}\n`,
  )
  homes = await Promise.all(crowd.map(({ namespace }) => openBuilds(insitu, namespace)))
})
afterAll(async () => {
  for (const home of homes) await home[Symbol.asyncDispose]()
  await controllers?.[Symbol.asyncDispose]()
})

const timed = (namespace: string, name: string): object =>
  timedBuild(namespace, name, namesNode(name) ? { node: 'node1' } : {})

const all = async (): Promise<Build[]> => (await Promise.all(homes.map((home) => home.all()))).flat()
const isOver = ({ status }: Build): boolean => status?.completionTime !== undefined
const key = ({ metadata }: Build): string => `${metadata?.namespace}/${metadata?.name}`

interface Job {
  readonly metadata: { readonly name: string; readonly namespace: string }
  readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] }
}
const jobs = async (): Promise<Job[]> => {
  const lists = await Promise.all(homes.map((home) => home.kubectl('get', 'jobs', '-o', 'json')))
  return lists.flatMap((text) => (JSON.parse(text) as { items: Job[] }).items)
}

it('controllers that vanish in the middle of a crowd of Builds: others go on, each Build is built once, none is lost', async () => {
  expect(await controllers.pods()).toHaveLength(2)
  await waitFor(
    'the holder of the Lease to say that it leads, and no other',
    async () => (await controllers.leading()).join() === (await controllers.leader()) || undefined,
    { timeout: 60_000 },
  )

  await using watch = startCommand('kubectl', [
    ...['--kubeconfig', insitu.lab.kubeconfig, 'get', 'jobs', '-A', '-w', '--output-watch-events'],
    ...['-o', 'jsonpath={.type} {.object.metadata.namespace} {.object.metadata.uid}{"\\n"}'],
  ])
  for (const [i, { namespace, count }] of crowd.entries()) {
    await homes[i]?.apply(...names(count).map((name) => timed(namespace, name)))
  }

  // One goes while it gives turns and makes Jobs.
  await waitFor('some to have their turn', async () => (await all()).some((b) => b.status?.startTime) || undefined, {
    timeout: 120_000,
  })
  const before = await controllers.lease()
  const first = before.holderIdentity
  await controllers.vanish(first)
  expect((await all()).filter((build) => !isOver(build)).length).toBeGreaterThan(total / 2)
  const next = await controllers.leader(first)
  expect((await controllers.lease()).leaseTransitions).toBeGreaterThan(before.leaseTransitions)

  // Both go while pods build: what these have built is written by nobody.
  const over = (await all()).filter(isOver).length
  await waitFor('it to go on', async () => (await all()).filter(isOver).length > over || undefined, {
    timeout: 120_000,
  })
  await waitFor('pods to build', async () => (await all()).some((b) => b.status?.phase === 'Running') || undefined, {
    timeout: 120_000,
  })
  const last = await controllers.pods()
  await controllers.vanishAll()
  await waitFor(
    'all that had begun to be built',
    async () => {
      const states = new Map((await jobs()).map((job) => [job.metadata.name, isComplete(job)]))
      const open = (await all()).filter((build) => !isOver(build) && states.has(build.status?.job ?? ''))
      return (open.length > 0 && open.every(({ status }) => states.get(status?.job ?? '') === true)) || undefined
    },
    { timeout: 120_000 },
  )
  await controllers.comeBack()
  await controllers.leader(first, next, ...last)

  const ended = await waitFor(
    'all to end',
    async () => {
      const builds = await all()
      return builds.filter(isOver).length === total ? builds : undefined
    },
    { timeout: 280_000, interval: 1000 },
  )
  for (const build of ended) expect(build.status, key(build)).toMatchObject({ phase: 'Succeeded', attempt: 1 })
  expect(await jobs()).toHaveLength(total)
  const made = watch
    .output()
    .split('\n')
    .filter((line) => line.includes(` crowd-${id}-`))
  expect(new Set(made.map((line) => line.split(' ')[2])).size).toBe(total)
}, 600_000)

const isComplete = ({ status }: Job): boolean =>
  status?.conditions?.some(({ type, status: holds }) => type === 'Complete' && holds === 'True') ?? false

it('they were worked off in order, within the limits of namespaces and nodes, which all gateways keep together', async () => {
  const builds = await all()
  expect(most(running(builds))).toBeLessThanOrEqual(limits.perNode * insitu.lab.nodes.length)
  expect(most(running(builds.filter(({ spec }) => spec.node === 'node1')))).toBeLessThanOrEqual(limits.perNode)
  const byAge = new Intl.Collator('en', { numeric: true }).compare
  for (const { namespace } of crowd) {
    const own = builds.filter(({ metadata }) => metadata?.namespace === namespace)
    expect(most(running(own)), namespace).toBeLessThanOrEqual(limits.perNamespace)
    // Those that name a node may have to wait for it while others pass by.
    const plain = own
      .filter(({ spec }) => spec.node === undefined)
      .toSorted((a, b) => byAge(a.metadata?.name ?? '', b.metadata?.name ?? ''))
    const turns = plain.toSorted((a, b) => byAge(a.status?.startTime ?? '', b.status?.startTime ?? ''))
    // Turns that come together are written side by side, and a controller vanished while it wrote them.
    for (const [i, build] of turns.entries()) {
      expect(Math.abs(plain.indexOf(build) - i), key(build)).toBeLessThan(2 * limits.perNamespace)
    }
  }
  const [big = [], small = []] = crowd.map(({ namespace }) =>
    builds.filter(({ metadata }) => metadata?.namespace === namespace),
  )
  expect(most(running(big))).toBe(limits.perNamespace)
  // The small namespace does not wait until the big one has had all its turns.
  const starts = (some: readonly Build[]) => running(some).map(([start]) => start)
  expect(Math.min(...starts(small))).toBeLessThan(Math.max(...starts(big)))

  const nodes = new Map(builds.map((build) => [key(build), build.status?.node ?? '']))
  const steps = new Map<string, (readonly [number, number])[]>()
  for (const [i, { namespace, count }] of crowd.entries()) {
    const home = homes[i]
    if (home === undefined) continue
    const times = await stepTimes(home)
    expect(times.size).toBe(count)
    for (const [name, interval] of times) {
      const node = nodes.get(`${namespace}/${name}`) ?? ''
      steps.set(node, [...(steps.get(node) ?? []), interval])
    }
  }
  expect(steps.size).toBeGreaterThan(1)
  for (const [node, intervals] of steps) expect(most(intervals), node).toBeLessThanOrEqual(limits.perNode)
})
