import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { restartKubelet } from '../lab/kubelet.ts'
import { killForMemory } from './fixtures/memory.ts'
import { buildctl, type Installed, ready, temporary } from './fixtures/insitu.ts'
import { openTroubledNode, type TroubledNode } from './fixtures/troubled-node.ts'

// A node that runs out of something, told by its own kubelet and its own kernel.

const id = randomBytes(3).toString('hex')
let node: TroubledNode
let insitu: Installed

beforeAll(async () => {
  node = await openTroubledNode(id)
  ;({ insitu } = node)
})
afterAll(async () => {
  await node?.[Symbol.asyncDispose]()
})

/** The reason that the kubelet gives for a condition of its node. */
const reasonOf = (type: string): Promise<string> =>
  insitu.kubectl(['get', 'node', node.name, '-o', `jsonpath={.status.conditions[?(@.type=="${type}")].reason}`])

/** Settings with which a kubelet finds that it has too little of something, and evicts nothing for it. */
const tooLittle = (signal: string) => ({
  evictionSoft: { [signal]: '1Pi' },
  evictionSoftGracePeriod: { [signal]: '1h' },
  evictionPressureTransitionPeriod: '1s',
})

describe('a node whose kubelet finds it short of something', () => {
  it('of memory, and then of disk: what runs there ends well, the next builds go elsewhere, until it is over', async () => {
    await using context = await temporary()
    const marker = `pressure-${id}`
    const build = await node.runningBuild(marker, context.path)
    try {
      await restartKubelet(node.name, tooLittle('memory.available'))
      await node.refuses('MemoryPressure', context.path)
      expect(await reasonOf('MemoryPressure')).toBe('KubeletHasInsufficientMemory')
      await node.nextGoesElsewhere(context.path)
      await restartKubelet(node.name, tooLittle('nodefs.available'))
      await node.refuses('DiskPressure', context.path)
      expect(await reasonOf('DiskPressure')).toBe('KubeletHasDiskPressure')
      await node.nextGoesElsewhere(context.path)
      await node.endStep()
      const end = await build.ended
      expect(end.code, end.output).toBe(0)
      expect(end.output).toContain(marker)
    } finally {
      await restartKubelet(node.name, {})
    }
    await node.takesBuildsAgain(`over-${id}`, context.path, 120_000)
    await ready(insitu)
  })
})

it('a daemon that its kernel kills for want of memory: the client is told so, and the next build succeeds', async () => {
  await using context = await temporary()
  const build = await node.runningBuild(`memory-${id}`, context.path)
  await killForMemory(insitu.lab, node.name, await node.daemon())
  const end = await build.ended
  expect(end.code).not.toBe(0)
  expect(end.output).toContain(`node ${node.name}: the connection to its build daemon was lost`)
  expect(end.output).toContain('for want of memory')
  await writeFile(join(context.path, 'Dockerfile'), `FROM busybox\nRUN echo after-${id}\n`)
  await buildctl({ addr: node.addr, context: context.path })
  await ready(insitu)
})
