import { expect, test } from 'vitest'
import { createFixedDirectory } from '../directory/fixed.ts'
import { createFixedPlacer } from './fixed.ts'

const directory = createFixedDirectory(['a', 'b', 'c'].map((name) => ({ name, address: { path: `/${name}` } })))
const request = { images: [], platforms: [], cacheKey: '' }
const placer = (running: Record<string, number> = {}) =>
  createFixedPlacer({ directory, running: (node) => running[node] ?? 0 })

test('the node that is said', async () => {
  expect(await placer().place({ ...request, node: 'b' })).toMatchObject({ node: 'b', rule: 'said' })
  await expect(placer().place({ ...request, node: 'z' })).rejects.toThrow('there is no node "z"')
})

test('a node that is not ready gets no build, and who asks is told why', async () => {
  const full = (...names: readonly string[]) =>
    createFixedPlacer({
      ...{ directory, running: () => 0 },
      notReady: (node) => (names.includes(node) ? `DISK_FULL: /${node} is full` : undefined),
    })
  expect((await full('a', 'c').place(request)).node).toBe('b')
  const refused = { code: 'NODE_CANNOT_BUILD', status: 'FAILED_PRECONDITION' }
  await expect(full('b').place({ ...request, node: 'b' })).rejects.toMatchObject({
    ...refused,
    message: 'node b takes no builds now: DISK_FULL: /b is full',
  })
  await expect(full('a', 'b', 'c').place(request)).rejects.toMatchObject({
    ...refused,
    message: expect.stringMatching(
      /^node a takes no builds now: .*; node c takes no builds now: DISK_FULL: \/c is full$/,
    ),
  })
})

test('a workload needs a cluster', async () => {
  await expect(placer().place({ ...request, workload: 'deploy/web' })).rejects.toThrow('needs a Kubernetes cluster')
})

test('the least busy node when nothing is known of the cache', async () => {
  expect((await placer({ a: 1, b: 1 }).place(request)).node).toBe('c')
})

test('one repository stays on one node until that is clearly busier, and repositories spread', async () => {
  const home = (await placer().place({ ...request, cacheKey: 'docker.io/team/app' })).node
  expect((await placer({ [home]: 1 }).place({ ...request, cacheKey: 'docker.io/team/app' })).node).toBe(home)
  expect((await placer({ [home]: 2 }).place({ ...request, cacheKey: 'docker.io/team/app' })).node).not.toBe(home)
  const homes = await Promise.all(
    Array.from({ length: 50 }, (_, i) => placer().place({ ...request, cacheKey: `docker.io/team/app${i}` })),
  )
  expect(new Set(homes.map((p) => p.node)).size).toBe(3)
})

test('a node on which the build would have to wait for its turn is left, unless it is so on all of them', async () => {
  const app = { ...request, cacheKey: 'docker.io/team/app', perNode: 1 }
  const home = (await placer().place(app)).node
  const others = ['a', 'b', 'c'].filter((name) => name !== home)
  expect(others).toContain((await placer({ [home]: 1 }).place(app)).node)
  const last = others[1] as string
  expect((await placer({ a: 1, b: 1, c: 1, [last]: 0 }).place(app)).node).toBe(last)
  expect((await placer({ a: 2, b: 2, c: 2, [last]: 1 }).place(app)).node).toBe(last)
  expect((await placer({ a: 1, b: 1, c: 1 }).place(app)).node).toBe(home)
})
