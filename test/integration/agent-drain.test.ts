import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { NodeReport } from '../../src/api/node-report.ts'
import { policyParts } from '../../src/cli/gateway-policy.ts'
import { createFixedDirectory } from '../../src/gateway/directory/fixed.ts'
import { createFixedPlacer } from '../../src/gateway/placement/fixed.ts'
import { createLogger } from '../../src/kernel/log.ts'
import { type LogLine, startAgent, type TestAgent } from './fixtures/agent.ts'
import { buildctl, startClient } from './fixtures/clients.ts'
import { type Inside, type Output, startNode, type TestNode } from './fixtures/containerd.ts'
import { createWorkspace } from './fixtures/context.ts'
import { startGateway } from './fixtures/gateway.ts'
import { quickest } from './fixtures/quickest.ts'
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
async function waitingBuild(buildctl: (args: readonly string[]) => Promise<Output>) {
  const work = await createWorkspace()
  const context = await work.context(
    'RUN --mount=type=bind,target=/ctx echo step-runs && { sleep 604; echo step-ended; }\n',
  )
  let over = false
  const run = async () => {
    try {
      return await buildctl([
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
  const build = await waitingBuild((args) => agent.buildctl(args))
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

test('builds that wait for their turn on a node that begins to drain are built there: their sessions are', async () => {
  const agent = startAgent(node, pod, { args: ['--drain', '120'] })
  await agent.ready()
  const logger = createLogger({ level: 'silent' })
  const work = await createWorkspace()
  const file = join(await work.directory(), 'policy.toml')
  await writeFile(file, '[queue]\nbuildsPerNode = 1\n')
  const path = `/proc/${pod.pid}/root/run/buildkit/buildkitd.sock`
  const fixed = createFixedDirectory([{ name: 'n1', address: { path } }])
  let state: NodeReport['state'] = 'ready'
  const report = (): NodeReport => ({
    ...{ version: 1, node: 'n1', ready: state === 'ready', state, platforms: [], buildkit: '', containerd: '' },
    ...{ snapshotter: 'overlayfs', distribution: 'unknown', network: 'bridge', findings: [] },
  })
  const nodes = () => fixed.nodes().map((one) => ({ ...one, report: report(), ready: state === 'ready' }))
  const directory = { nodes, node: (name: string) => nodes().find((one) => one.name === name) }
  const policy = await policyParts({ file, directory, logger })
  const placer = createFixedPlacer({ directory, running: () => 0 })
  const config = { statusVertex: true }
  const gateway = await startGateway({ nodes: {}, directory, placer, turns: policy.turns, config })
  try {
    const contexts = await Promise.all(['one', 'two'].map((word) => work.context(`RUN echo this-is-${word}\n`)))
    const first = await waitingBuild(async (args) => {
      const { exitCode, output } = await startClient('buildctl', ['--addr', gateway.address, ...args]).ended
      return { code: exitCode, stdout: '', stderr: output }
    })
    await until('the step to run', steps)
    const others = contexts.map((context) => buildctl(gateway.address, context, ['--no-cache']))
    await until('both to wait', () => others.every((one) => one.output().includes('waiting for a turn on node n1')))
    const stopped = agent.stop()
    await agent.waitFor('the drain', (line) => line.msg.startsWith('draining'))
    state = 'draining'
    // Longer than a queue looks away from its nodes.
    const since = performance.now()
    await until('a look at the node', () => performance.now() - since > 2000)
    await endStep()
    expect(await first.ended).toMatchObject({ code: 0 })
    const results = await Promise.all(others.map((one) => one.ended))
    for (const result of results) expect(result, result.output).toMatchObject({ exitCode: 0 })
    expect(results.map((result) => /this-is-(\w+)\n/.exec(result.output)?.[1])).toEqual(['one', 'two'])
    expect(await stopped).toBe(0)
  } finally {
    await gateway.close()
    policy.close()
    await agent.stop()
    await work.remove()
  }
})

test('a daemon that is stopped is noticed, killed, replaced and reported; its client ends with it', async () => {
  const agent = startAgent(node, pod)
  try {
    await agent.ready()
    expect(await quickest(2000, () => timeOfHang(agent))).toBeLessThan(2000)
  } finally {
    await agent.stop()
  }
})

/** @returns milliseconds from the moment that a hung daemon is noticed to the end of its client. */
async function timeOfHang(agent: TestAgent): Promise<number> {
  const before = agent.lines().length
  const build = await waitingBuild((args) => agent.buildctl(args))
  await until('the step to run', steps)
  process.kill(await agent.daemonPid(), 'SIGSTOP')
  const hung = (line: LogLine): boolean => line.msg.includes('answers nothing: it is killed')
  const noticed = await agent.waitFor('the hang to be noticed', hung, before)
  const since = performance.now()
  const result = await build.ended
  const took = performance.now() - since
  expect(result.code).not.toBe(0)
  await agent.ready(agent.lines().indexOf(noticed))
  expect(
    agent
      .lines()
      .slice(before)
      .some((line) => line['cause'] === 'hung'),
  ).toBe(true)
  return took
}
