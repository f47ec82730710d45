import { existsSync } from 'node:fs'
import { copyFile, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startAgent, type TestAgent } from '../fixtures/agent.ts'
import { type Inside, startNode, type TestNode } from '../fixtures/containerd.ts'

const program = fileURLToPath(new URL('../../../bin/insitu', import.meta.url))

let node: TestNode
let pod: Inside
let agent: TestAgent
let before: State
beforeAll(async () => {
  node = await startNode()
  pod = await node.pod()
  before = await state()
  agent = startAgent(node, pod)
  await agent.ready()
})
afterAll(async () => {
  await agent?.stop()
  await node?.stop()
})

interface State {
  readonly leases: string[]
  readonly snapshots: string[]
  readonly content: string[]
  readonly namespaces: string[]
}

const lines = (text: string): string[] => text.split('\n').filter((line) => line !== '')

/** What containerd holds. */
async function state(): Promise<State> {
  const [leases, snapshots, content, namespaces] = await Promise.all([
    node.ctr(['leases', 'ls', '-q']),
    node.ctr(['snapshots', '--snapshotter', 'overlayfs', 'ls']),
    node.ctr(['content', 'ls', '-q']),
    node.ctr(['namespaces', 'ls', '-q']),
  ])
  return {
    leases: lines(leases),
    snapshots: lines(snapshots).slice(1),
    content: lines(content),
    namespaces: lines(namespaces).filter((name) => name.includes('history')),
  }
}

const clean = (...args: string[]) => pod.run(program, ['clean-node', '--root', node.buildkitRoot, ...args])

async function build(name: string): Promise<void> {
  const context = join(node.directory, name)
  await mkdir(context, { recursive: true })
  await copyFile('/bin/busybox', join(context, 'busybox'))
  await writeFile(
    join(context, 'Dockerfile'),
    `FROM scratch AS one\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "touch", "/${name}"]\nFROM scratch\nCOPY --from=one /${name} /\n`,
  )
  const result = await agent.buildctl([
    ...['build', '--frontend', 'dockerfile.v0', '--local', `context=${context}`, '--local', `dockerfile=${context}`],
    ...['--output', `type=image,name=docker.io/test/${name}:v1,unpack=true`],
  ])
  expect(result.code, result.stderr).toBe(0)
}

test('a node is not cleaned while buildkitd runs on it', async () => {
  await build('kept')
  const result = await clean()
  expect(result.code).toBe(1)
  expect(result.stderr).toContain('still uses namespace k8s.io')
  await build('kept-too')
})

test('the cache stays when it is to be kept', async () => {
  expect(await agent.stop()).toBe(0)
  const held = await state()
  expect(held.leases.length).toBeGreaterThan(before.leases.length)
  const result = await clean('--keep-cache')
  expect(result.code, result.stderr).toBe(0)
  expect(await state()).toEqual(held)
})

test('nothing of the cache is left in containerd or on disk, and built images stay whole', async () => {
  const file = join(node.directory, 'result')
  const result = await clean('--result-file', file)
  expect(result.code, result.stderr).toBe(0)
  expect(JSON.parse(result.stdout)).toMatchObject({ removed: expect.arrayContaining([node.buildkitRoot]) as string[] })
  const after = await state()
  expect(after.leases).toEqual(before.leases)
  expect(after.namespaces).toEqual([])
  // One layer each of the two images; the builds' own snapshots, contexts and stages are collected.
  expect(after.snapshots).toHaveLength(2)
  expect((await node.mounts()).filter((mount) => mount.includes(node.buildkitRoot))).toEqual([])
  expect((await node.run('ls', [node.buildkitRoot])).code).not.toBe(0)
  // containerd lists each image under its own name and under those that its CRI plug-in gives it.
  const images = lines(await node.ctr(['images', 'check'])).slice(1)
  expect(images.filter((image) => image.includes('docker.io/test/'))).toHaveLength(2)
  expect(images.filter((image) => !/\bcomplete\b/.test(image))).toEqual([])
  expect(existsSync(file)).toBe(true)
})

test('a node that is clean can be cleaned again', async () => {
  const result = await clean()
  expect(result.code, result.stderr).toBe(0)
  expect(JSON.parse(result.stdout)).toMatchObject({ unmounted: 0, leases: 0 })
})
