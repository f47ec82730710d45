import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Builds, startBuilds } from './builds.ts'
import { workOff } from './work-off.ts'

let builds: Builds

beforeAll(async () => {
  builds = await startBuilds()
  for (const node of ['node-2', 'node-3']) await builds.cluster.agent(node)
})
afterAll(async () => {
  await builds?.stop()
})

// `npm run -s bench -- builds` does the same with a thousand.
test('a crowd of Builds is worked off in order, within the limits, each once', async () => {
  const limits = { perNamespace: 7, perNode: 4 }
  const done = await workOff(builds, { count: 80, limits, id: 'crowd', timeout: 240_000 })
  expect(done.builds.map(({ status }) => status?.phase)).toEqual(Array(80).fill('Succeeded'))
  expect([...done.jobs.values()]).toEqual(Array(80).fill(1))
  expect(done.most.all).toBeLessThanOrEqual(3 * limits.perNode)
  expect(done.most.node).toBeLessThanOrEqual(limits.perNode)
  for (const [namespace, names] of done.order) {
    expect(done.most.namespaces.get(namespace), namespace).toBeLessThanOrEqual(limits.perNamespace)
    // Those that name a node may have to wait for it while others pass by.
    const plain = new Set(names.filter((name) => !isOnNode(name)))
    const byAge = done.builds
      .filter(({ metadata }) => metadata?.namespace === namespace && plain.has(metadata.name ?? ''))
      .map(({ metadata }) => `${metadata?.creationTimestamp} ${metadata?.name}`)
      .toSorted((a, b) => a.localeCompare(b, 'en', { numeric: true }))
      .map((text) => text.slice(text.indexOf(' ') + 1))
    // Turns that come together are written side by side.
    for (const [i, name] of [...plain].entries()) {
      expect(Math.abs(byAge.indexOf(name) - i), `${name} of ${namespace}`).toBeLessThan(2 * limits.perNamespace)
    }
  }
}, 300_000)

const isOnNode = (name: string): boolean => Number(name.replace('build-', '')) % 8 === 0
