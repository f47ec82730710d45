import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { restartKubelet } from '../lab/kubelet.ts'
import { type Logind, startLogind } from '../lab/logind.ts'
import { waitFor } from '../lab/wait.ts'
import { type Installed, ready, temporary } from './fixtures/insitu.ts'
import { openTroubledNode, type TroubledNode } from './fixtures/troubled-node.ts'

// A node that its administrator shuts down: systemd-logind tells the kubelet, and the kubelet ends its pods.

const id = randomBytes(3).toString('hex')
let node: TroubledNode
let insitu: Installed
let logind: Logind

beforeAll(async () => {
  node = await openTroubledNode(id)
  ;({ insitu } = node)
  logind = await startLogind(node.name, { delay: 60 })
})
afterAll(async () => {
  if (node) await restartKubelet(node.name, {})
  await logind?.[Symbol.asyncDispose]()
  await node?.[Symbol.asyncDispose]()
})

/** @param seconds for pods that are critical for the node, as the agent is. */
async function kubeletGives(seconds: number): Promise<void> {
  await restartKubelet(node.name, {
    shutdownGracePeriod: `${seconds + 5}s`,
    shutdownGracePeriodCriticalPods: `${seconds}s`,
  })
  await ready(insitu)
}

const readyMessage = (): Promise<string> =>
  insitu.kubectl(['get', 'node', node.name, '-o', 'jsonpath={.status.conditions[?(@.type=="Ready")].message}'])

/** The shutdown was called off, and the node is as before. */
async function isBack(context: string, marker: string): Promise<void> {
  await waitFor('the node to stay', async () => !(await readyMessage()).includes('shutting down') || undefined, {
    timeout: 60_000,
  })
  await ready(insitu)
  await node.takesBuildsAgain(marker, context, 60_000)
}

it('a build that ends in time ends well; none begins, and the next goes elsewhere', async () => {
  await using context = await temporary()
  const marker = `shutdown-${id}`
  await kubeletGives(30)
  const build = await node.runningBuild(marker, context.path)
  await logind.powerOff()
  await node.refuses(`node ${node.name} is going away (its kubelet shuts it down)`, context.path)
  expect(await readyMessage()).toContain('node is shutting down')
  await node.nextGoesElsewhere(context.path)
  await node.endStep()
  const end = await build.ended
  expect(end.code, end.output).toBe(0)
  expect(end.output).toContain(marker)
  await isBack(context.path, `after-${id}`)
})

it('a build that takes longer than the kubelet gives: its client is told what happened', async () => {
  await using context = await temporary()
  // All of it passes.
  await kubeletGives(10)
  const build = await node.runningBuild(`too-long-${id}`, context.path)
  await logind.powerOff()
  const end = await build.ended
  expect(end.code).not.toBe(0)
  expect(end.output).toContain(`its agent was stopped, as the node is going away: its kubelet shuts it down`)
  await isBack(context.path, `after-long-${id}`)
})
