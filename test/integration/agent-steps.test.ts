import { copyFile, mkdir, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startAgent, type TestAgent } from './fixtures/agent.ts'
import { type Output, startNode, type TestNode } from './fixtures/containerd.ts'
import { createMemoryGroup, type MemoryGroup } from './fixtures/memory-group.ts'

// Control groups of RUN steps, which lie outside of every pod's: by the real kernel, with a real limit.

let node: TestNode
let memory: MemoryGroup
let agent: TestAgent

beforeAll(async () => {
  node = await startNode()
  memory = await createMemoryGroup()
  await memory.limit(64 << 20)
  const config = join(node.directory, 'buildkitd.toml')
  await writeFile(config, `[worker.containerd]\ndefaultCgroupParent = "/${basename(memory.path)}"\n`)
  agent = startAgent(node, await node.pod(), { config })
  await agent.ready()
})
afterAll(async () => {
  await agent?.stop()
  // Of control groups of version 1 every controller has a tree of its own, in which runc leaves a step's parents.
  const ours = ['/sys/fs/cgroup', '-depth', '-type', 'd', '-path', `*/${basename(memory.path)}*`]
  await node?.run('find', [...ours, '-exec', 'rmdir', '{}', '+'])
  await node?.stop()
})

async function build(megabytes: number): Promise<Output> {
  const context = join(node.directory, 'context')
  await mkdir(context, { recursive: true })
  await copyFile('/bin/busybox', join(context, 'busybox'))
  // One line without an end, which tail has to keep.
  const step = `busybox head -c ${megabytes << 20} /dev/zero | busybox tail > /size`
  await writeFile(
    join(context, 'Dockerfile'),
    `FROM scratch\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "sh", "-e", "-o", "pipefail", "-c", ${JSON.stringify(step)}]\n`,
  )
  return agent.buildctl([
    ...['build', '--progress', 'plain', '--frontend', 'dockerfile.v0', '--local', `context=${context}`],
    ...['--local', `dockerfile=${context}`],
  ])
}

test('a control group that buildkitd.toml names limits all RUN steps, and only them', async () => {
  const within = await build(16)
  expect(within.code, within.stderr).toBe(0)
  const beyond = await build(256)
  expect(beyond.code).not.toBe(0)
  expect(beyond.stderr).toMatch(/exit code: 137/)
  expect((await build(17)).code).toBe(0)
  expect(agent.lines().filter((line) => typeof line['cause'] === 'string')).toEqual([])
})
