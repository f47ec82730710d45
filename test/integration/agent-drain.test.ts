import { afterAll, beforeAll, expect, test } from 'vitest'
import { startAgent } from './fixtures/agent.ts'
import { type Inside, startNode, type TestNode } from './fixtures/containerd.ts'
import { createWorkspace } from './fixtures/context.ts'
import { until } from './fixtures/until.ts'

let node: TestNode
let pod: Inside

beforeAll(async () => {
  node = await startNode()
  pod = await node.pod()
})
afterAll(async () => {
  await node?.stop()
})

/** A build whose only step runs until `endStep`. */
async function waitingBuild(agent: ReturnType<typeof startAgent>) {
  const work = await createWorkspace()
  const context = await work.context(
    'RUN --mount=type=bind,target=/ctx echo step-runs && { sleep 604; echo step-ended; }\n',
  )
  let over = false
  const run = async () => {
    try {
      return await agent.buildctl([
        ...['build', '--progress=plain', '--frontend=dockerfile.v0', '--local', `context=${context}`],
        ...['--local', `dockerfile=${context}`, '--no-cache'],
      ])
    } finally {
      over = true
      await work.remove()
    }
  }
  const ended = run()
  return { ended, over: () => over }
}

const steps = async (): Promise<boolean> => (await pod.run('pgrep', ['-fx', 'sleep 604'])).code === 0
/** In the node's own namespace of processes. */
const endStep = (): Promise<unknown> => pod.ok('pkill', ['-fx', 'sleep 604'])

test('SIGTERM: the node takes no builds, and the running one ends in peace', async () => {
  const agent = startAgent(node, pod, { args: ['--drain', '60'] })
  await agent.ready()
  const build = await waitingBuild(agent)
  await until('the step to run', steps)
  const stopped = agent.stop()
  await agent.waitFor('the drain', (line) => line.msg.startsWith('draining'))
  expect(build.over()).toBe(false)
  await endStep()
  const result = await build.ended
  expect(result, result.stderr).toMatchObject({ code: 0 })
  expect(result.stderr).toContain('step-ended')
  expect(await stopped).toBe(0)
})

// Again where the machine was too busy to measure two seconds.
test(
  'a daemon that is stopped is noticed, killed, replaced and reported; its client ends with it',
  { retry: 2 },
  async () => {
    const agent = startAgent(node, pod)
    try {
      await agent.ready()
      const build = await waitingBuild(agent)
      await until('the step to run', steps)
      const pid = await agent.daemonPid()
      process.kill(pid, 'SIGSTOP')
      const noticed = await agent.waitFor('the hang to be noticed', (line) =>
        line.msg.includes('answers nothing: it is killed'),
      )
      const since = performance.now()
      const result = await build.ended
      expect(performance.now() - since).toBeLessThan(2000)
      expect(result.code).not.toBe(0)
      await agent.ready(agent.lines().indexOf(noticed))
      expect(agent.lines().some((line) => line['cause'] === 'hung')).toBe(true)
    } finally {
      await agent.stop()
    }
  },
)
