import { afterAll, beforeAll, expect, test } from 'vitest'
import { startAgent, type TestAgent } from './fixtures/agent.ts'
import { type Inside, startNode, type TestNode } from './fixtures/containerd.ts'
import { createMemoryGroup, type MemoryGroup } from './fixtures/memory-group.ts'

// The ways in which a daemon ends, each told from the others: by the real kernel, with a real limit.

let node: TestNode
let pod: Inside
let memory: MemoryGroup
let agent: TestAgent

beforeAll(async () => {
  node = await startNode()
  pod = await node.pod()
  memory = await createMemoryGroup()
  agent = startAgent(node, pod, { memory })
  await agent.ready()
})
afterAll(async () => {
  await memory?.limit(-1)
  await agent?.stop()
  await node?.stop()
  await memory?.remove()
})

/** Ends the daemon. @returns what the agent says of it, after the next one takes builds. */
async function endOf(end: (pid: number) => Promise<unknown> | void): Promise<Record<string, unknown>> {
  const from = agent.lines().length
  await end(await agent.daemonPid())
  const said = await agent.waitFor('the end to be known', (line) => typeof line['cause'] === 'string', from)
  await memory.limit(-1)
  await agent.ready(from)
  return said
}

test('the kernel kills it for want of memory, and not its agent', async () => {
  const said = await endOf((pid) => memory.useUp(pid))
  expect(said).toMatchObject({ cause: 'memory', msg: 'buildkitd was killed by the kernel for want of memory' })
})

test('somebody kills it: that is not memory', async () => {
  expect(await endOf((pid) => void process.kill(pid, 'SIGKILL'))).toMatchObject({
    cause: 'killed',
    msg: 'buildkitd was killed by SIGKILL',
  })
})

test('it crashes', async () => {
  const said = await endOf((pid) => void process.kill(pid, 'SIGABRT'))
  expect(said).toMatchObject({ cause: 'crashed' })
  expect(said['msg']).toMatch(/^buildkitd (ended with exit code 2|was killed by SIGABRT)/)
})

test('a part of the agent that could not start is tried again before the next daemon', async () => {
  await agent.stop()
  // In the place of a socket of its own there is something that it does not delete.
  await pod.ok('mkdir', ['-p', '/run/buildkit/insitu.sock/somebodys'])
  agent = startAgent(node, pod, { memory })
  await agent.waitFor('the failure', (line) => line.msg === 'a part of the agent could not start')
  await agent.ready()
  await pod.ok('rm', ['-r', '/run/buildkit/insitu.sock'])
  await endOf((pid) => void process.kill(pid, 'SIGKILL'))
  expect(agent.lines().find((line) => line['part'] === 'disk' && line.msg.endsWith('runs now'))).toBeDefined()
  await pod.ok('curl', ['-sf', '--unix-socket', '/run/buildkit/insitu.sock', 'http://agent/v1/usage'])
})
