import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import type { Build } from '../../src/api/builds/builds.ts'
import { type BuildsNamespace, openBuilds } from '../e2e/fixtures/builds.ts'
import { most, running, stepTimes, timedBuild } from '../e2e/fixtures/crowd.ts'
import { ensureInstalled } from '../e2e/fixtures/insitu.ts'
import type { BenchOptions } from './benches.ts'
import { type Report, summarize } from './report.ts'

/** What controllers and gateways are installed with. */
const limits = { perNamespace: 20, perNode: 4 }

const names = (count: number): string[] => Array.from({ length: count }, (_, i) => `b-${i + 1}`)

/**
 * Builds that are queued at once on the lab, in two namespaces, with real pods: each has one Job and one attempt, and they
 * are worked off in order, within the limits, over the nodes.
 * @throws an Error for a Build that has more than one Job, failed, or was begun long before its turn
 */
export async function benchRealBuilds({ builds: count, nodes, progress }: BenchOptions): Promise<Report> {
  const insitu = await ensureInstalled(nodes <= 9 ? nodes : 3)
  const id = `bench-builds-${randomBytes(3).toString('hex')}`
  const homes: BuildsNamespace[] = []
  try {
    const crowd = [
      { namespace: `${id}-a`, count: Math.ceil((count * 2) / 3) },
      { namespace: `${id}-b`, count: Math.floor(count / 3) },
    ]
    for (const { namespace } of crowd) homes.push(await openBuilds(insitu, namespace))
    const begun = Date.now()
    for (const [i, { namespace, count: own }] of crowd.entries()) {
      await homes[i]?.apply(...names(own).map((name) => timedBuild(namespace, name)))
    }
    progress(`${count} Builds are queued`)
    const builds = await allEnded(homes, count, progress)
    const seconds = (Date.now() - begun) / 1000
    const jobs = (await Promise.all(homes.map((home) => home.kubectl('get', 'jobs', '-o', 'name')))).flatMap((text) =>
      text.split('\n').filter(Boolean),
    )
    const bad = builds.filter(({ status }) => status?.phase !== 'Succeeded' || status.attempt !== 1)
    if (bad.length > 0 || jobs.length !== count) {
      throw new Error(`${jobs.length} Jobs for ${count} Builds; not at the first attempt: ${JSON.stringify(bad[0])}`)
    }
    const steps = new Map<string, (readonly [number, number])[]>()
    const nodeOf = new Map(
      builds.map(({ metadata, status }) => [`${metadata?.namespace}/${metadata?.name}`, status?.node]),
    )
    for (const [i, { namespace }] of crowd.entries()) {
      for (const [name, interval] of await stepTimes(homes[i] as BuildsNamespace)) {
        const node = nodeOf.get(`${namespace}/${name}`) ?? ''
        steps.set(node, [...(steps.get(node) ?? []), interval])
      }
    }
    const own = (namespace: string) => builds.filter(({ metadata }) => metadata?.namespace === namespace)
    const row = (what: string, unit: string, seen: number, limit: number) => [
      { case: what, subject: 'seen', unit, values: [seen] },
      { case: what, subject: 'limit', unit, values: [limit] },
    ]
    const mostOf = Math.max(...crowd.map(({ namespace }) => most(running(own(namespace)))))
    const places = Math.max(...crowd.map(({ namespace }) => outOfOrder(own(namespace))))
    return summarize('builds', (what) => (what.startsWith('most') ? 'limit' : 'all of them'), [
      { case: `${count} Builds`, subject: 'all of them', unit: 's', values: [seconds] },
      ...row('most at one time', 'Builds', most(running(builds)), limits.perNode * insitu.lab.nodes.length),
      ...row('most of a namespace', 'Builds', mostOf, limits.perNamespace),
      ...row('most steps on a node', 'steps', Math.max(...[...steps.values()].map(most)), limits.perNode),
      ...row('most places out of order', 'Builds', places, limits.perNamespace),
      ...[...steps].map(([node, all]) => ({
        ...{ case: `built on ${node}`, subject: 'all of them', unit: 'Builds', values: [all.length] },
      })),
    ])
  } finally {
    for (const home of homes) await home[Symbol.asyncDispose]()
  }
}

async function allEnded(homes: readonly BuildsNamespace[], count: number, progress: BenchOptions['progress']) {
  let told = 0
  for (;;) {
    const all = (await Promise.all(homes.map((home) => home.all()))).flat()
    const over = all.filter(({ status }) => status?.completionTime !== undefined)
    if (over.length >= told + 10) progress(`${(told = over.length)} have ended`)
    if (over.length >= count) return over
    await pause(2000)
  }
}

/** By how many places a turn came earlier or later than by age, at most. */
function outOfOrder(builds: readonly Build[]): number {
  const byAge = new Intl.Collator('en', { numeric: true }).compare
  const plain = builds.toSorted((a, b) => byAge(a.metadata?.name ?? '', b.metadata?.name ?? ''))
  const turns = plain.toSorted((a, b) => byAge(a.status?.startTime ?? '', b.status?.startTime ?? ''))
  return Math.max(0, ...turns.map((build, i) => Math.abs(plain.indexOf(build) - i)))
}
