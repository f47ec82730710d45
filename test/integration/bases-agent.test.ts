import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startNode, type TestNode } from './fixtures/containerd.ts'
import { createWorkspace, type Workspace } from './fixtures/context.ts'
import { tool } from './fixtures/paths.ts'
import { until } from './fixtures/until.ts'

let node: TestNode
let work: Workspace

beforeAll(async () => {
  ;[node, work] = await Promise.all([startNode(), createWorkspace()])
})
afterAll(async () => {
  await node?.stop()
  await work?.remove()
})

test('the daemon that an agent runs asks it for bases, and is known to it', async () => {
  const registry = '127.0.0.1:1'
  const name = `${registry}/team/base:v1`
  const pod = await node.pod()
  const program = fileURLToPath(new URL('./fixtures/bases-agent.ts', import.meta.url))
  const agent = pod.start(process.execPath, [program, node.buildkitRoot, registry])
  let said = ''
  for (const stream of [agent.stdout, agent.stderr]) stream?.on('data', (chunk) => (said += String(chunk)))
  await until('the daemon to take builds', () => said.includes('buildkitd takes builds'))
  const context = await work.context(`FROM ${name}\n`)
  const { code, stderr } = await pod.run(tool('buildctl'), [
    ...['--addr', 'unix:///run/buildkit/buildkitd.sock', 'build', '--progress=plain', '--frontend=dockerfile.v0'],
    ...['--local', `context=${context}`, '--local', `dockerfile=${context}`],
  ])
  expect([code, stderr]).toEqual([1, expect.stringContaining(`${name}: not found`)])
  await until('the gateway to be asked', () => said.includes(`asked: ${name} 1\n`))
  expect(said).not.toContain('asked for bases and was refused')
})
