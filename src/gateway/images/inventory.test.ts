import { expect, test } from 'vitest'
import type { BuiltImage } from '../../api/images.ts'
import { createBackoff } from '../../kernel/k8s/backoff.ts'
import { createLogger } from '../../kernel/log.ts'
import type { Agent } from '../directory/agent.ts'
import { createImageIndex } from './index.ts'
import { followInventories, parseInventory } from './inventory.ts'
import { createOrdinaryImages } from './ordinary-images.ts'

const logger = createLogger({ level: 'silent' })
const image = (name: string, version = 1): BuiltImage => ({
  name: `docker.io/library/${name}:1`,
  digest: `sha256:${'a'.repeat(64)}`,
  version,
})
const agent = (node: string, imagesRevision?: number, uid = node): Agent =>
  ({
    ...{ node, uid, ip: '10.0.0.1', pod: node, ready: true, trouble: undefined, draining: false, platforms: [] },
    report: imagesRevision === undefined ? undefined : { imagesRevision },
  }) as unknown as Agent

function follow(answer: (agent: Agent) => Promise<unknown>, now = Date.now) {
  const index = createImageIndex()
  const ordinary = createOrdinaryImages()
  let asked = 0
  const inventories = followInventories({
    index,
    ordinary,
    logger,
    ...{ atOnce: 4, now },
    backoff: () => createBackoff({ base: 1, max: 5 }),
    ask: (one) => {
      asked += 1
      return answer(one)
    },
  })
  return { index, ordinary, inventories, asked: () => asked }
}

test('an agent is asked when it appears and when its revision changes, not for anything else', async () => {
  const said = { images: [image('a')] }
  const { index, inventories, asked } = follow(() => Promise.resolve({ ...said }))
  inventories.agent('n1', agent('n1', 5))
  inventories.agent('n1', agent('n1', 5))
  await expect.poll(() => index.of('n1')).toEqual([image('a')])
  expect(asked()).toBe(1)
  said.images = [image('b')]
  inventories.agent('n1', agent('n1', 6))
  await expect.poll(() => index.of('n1')).toEqual([image('b')])
  inventories.agent('n1', agent('n1', 6, 'another pod'))
  await expect.poll(asked).toBe(3)
  inventories.agent('n1', undefined)
  expect(index.of('n1')).toEqual([])
})

test('what fails is tried again, and a node that cannot be read now keeps what it had', async () => {
  let fails = 0
  const { index, inventories, asked } = follow(() =>
    fails-- > 0 ? Promise.reject(new Error('no answer')) : Promise.resolve({ images: [image('a')] }),
  )
  inventories.agent('n1', agent('n1', 1))
  await expect.poll(() => index.of('n1')).toHaveLength(1)
  fails = 3
  inventories.agent('n1', agent('n1', 2))
  expect(index.of('n1')).toHaveLength(1)
  await expect.poll(asked).toBe(5)
  expect(index.of('n1')).toHaveLength(1)
  await expect.poll(() => inventories.pending).toBe(0)
})

test('who is unread is said until each node was read once or could not be', async () => {
  const waiting: (() => void)[] = []
  const { inventories } = follow(
    ({ node }) =>
      new Promise((resolve, reject) =>
        waiting.push(() => (node === 'broken' ? reject(new Error('no answer')) : resolve({ images: [] }))),
      ),
  )
  expect(inventories.unread).toBe(0)
  for (const node of ['n1', 'n2', 'broken', 'gone']) inventories.agent(node, agent(node, 1))
  inventories.agent('gone', undefined)
  expect(inventories.unread).toBe(3)
  for (const answer of waiting.splice(0)) answer()
  await expect.poll(() => inventories.unread).toBe(0)
  inventories.agent('n1', agent('n1', 2))
  expect(inventories.pending).toBeGreaterThan(0)
  expect(inventories.unread).toBe(0)
  inventories.stop()
})

test('5,000 agents that appear at once are asked a few at a time', async () => {
  let now = 0
  let most = 0
  const { index, inventories } = follow(async () => {
    most = Math.max(most, ++now)
    await new Promise((resolve) => setImmediate(resolve))
    now -= 1
    return { images: [image('a')] }
  })
  for (let i = 0; i < 5000; i++) inventories.agent(`n${i}`, agent(`n${i}`, 1))
  await expect.poll(() => index.size.copies, { timeout: 20_000 }).toBe(5000)
  expect(most).toBe(4)
})

test('an agent that goes while it is read leaves nothing', async () => {
  const answer = Promise.withResolvers<unknown>()
  const { index, inventories } = follow(() => answer.promise)
  inventories.agent('n1', agent('n1', 1))
  inventories.agent('n1', undefined)
  answer.resolve({ images: [image('a')] })
  await expect.poll(() => inventories.pending).toBe(0)
  expect(index.size).toEqual({ names: 0, copies: 0, nodes: 0 })
})

test('what a node had is awaited until its next agent has said what is there, for two minutes', async () => {
  let [time, fails] = [0, false]
  const answer = () => (fails ? Promise.reject(new Error('not yet')) : Promise.resolve({ images: [image('a')] }))
  const { index, inventories } = follow(answer, () => time)
  const { name } = image('a')
  inventories.agent('n1', agent('n1', 1))
  await expect.poll(() => index.size.copies).toBe(1)
  expect(inventories.awaited(name)).toEqual([])

  inventories.agent('n1', undefined)
  expect(inventories.awaited(name)).toEqual(['n1'])
  expect(inventories.awaited(image('b').name)).toEqual([])
  fails = true
  inventories.agent('n1', agent('n1', undefined, 'next'))
  // That one goes, too, before it could be read.
  inventories.agent('n1', undefined)
  expect(inventories.awaited(name)).toEqual(['n1'])
  fails = false
  inventories.agent('n1', agent('n1', 1, 'last'))
  await expect.poll(() => inventories.awaited(name)).toEqual([])
  expect(index.size.copies).toBe(1)

  inventories.agent('n1', undefined)
  time = 119_000
  expect(inventories.awaited(name)).toEqual(['n1'])
  expect(inventories.awaited(name, 20_000)).toEqual([])
  time = 121_000
  expect(inventories.awaited(name)).toEqual([])
})

test('of an answer only what is an image counts', () => {
  const good = image('a')
  expect(parseInventory({ images: [good, null, { ...good, name: 'a' }, { ...good, version: 'x' }] })).toEqual([good])
  expect(() => parseInventory('nothing')).toThrow('no inventory')
})

test('images that insitu did not build are taken over, until the agent goes', async () => {
  const digest = `sha256:${'c'.repeat(64)}`
  const said = { images: [], ordinary: [digest, 5, 'sha256:../x'] }
  const { ordinary, inventories } = follow(() => Promise.resolve(said))
  inventories.agent('n1', agent('n1', 5))
  await expect.poll(() => ordinary.holders(digest, 8)).toEqual(['n1'])
  expect(ordinary.size.digests).toBe(1)
  inventories.agent('n1', undefined)
  expect(ordinary.holders(digest, 8)).toEqual([])
})
