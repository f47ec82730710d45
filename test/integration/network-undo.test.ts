import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { type Inside, startNode, type TestNode } from './fixtures/containerd.ts'

const program = join(import.meta.dirname, 'fixtures/network-memory.ts')
const settings = '/proc/sys/net/ipv4'

let node: TestNode
let pod: Inside
let file: string

const set = (name: string, value: 0 | 1): Promise<string> => pod.ok('sh', ['-c', `echo ${value} > ${settings}/${name}`])
const get = async (name: string): Promise<string> => (await pod.ok('cat', [`${settings}/${name}`])).trim()
/** An agent, as far as the network goes. What it complains about. */
const agent = async (...end: readonly 'undo'[]): Promise<string> => {
  const { code, stdout, stderr } = await pod.run(process.execPath, [program, file, ...end])
  expect(code, stderr).toBe(0)
  return stdout + stderr
}
/** What the plug-in bridge does when a RUN step gets its network. */
const forward = (): Promise<string> => set('ip_forward', 1)

beforeAll(async () => {
  node = await startNode()
  pod = await node.pod()
  file = join(node.directory, 'insitu-network.json')
})
afterAll(() => node?.stop())

beforeEach(async () => {
  await set('ip_forward', 0)
  await set('conf/all/accept_redirects', 1)
})

it('interfaces that forwarded alone do so again, also after an agent that was killed', async () => {
  await pod.ok('ip', ['link', 'add', 'vpn0', 'type', 'veth', 'peer', 'name', 'lan0'])
  await set('conf/vpn0/forwarding', 1)
  expect(await agent()).toBe('')
  await forward()
  expect(await agent('undo')).toBe('')
  expect(await Promise.all(['ip_forward', 'conf/default/forwarding', 'conf/lan0/forwarding'].map(get))).toEqual([
    '0',
    '0',
    '0',
  ])
  expect(await get('conf/vpn0/forwarding')).toBe('1')
  expect(existsSync(file)).toBe(false)
  await pod.ok('ip', ['link', 'delete', 'vpn0'])
})

it('an interface that is gone by then is nothing to complain about', async () => {
  await pod.ok('ip', ['link', 'add', 'gone0', 'type', 'veth', 'peer', 'name', 'gone1'])
  await set('conf/gone0/forwarding', 1)
  await set('conf/default/forwarding', 1)
  expect(await agent()).toBe('')
  await forward()
  await pod.ok('ip', ['link', 'delete', 'gone0'])
  expect(await agent('undo')).toBe('')
  expect(await get('ip_forward')).toBe('0')
  expect(await get('conf/default/forwarding')).toBe('1')
})

it('a machine that takes no redirects takes none afterwards', async () => {
  await set('conf/all/accept_redirects', 0)
  await agent()
  await forward()
  await agent('undo')
  expect(await get('conf/all/accept_redirects')).toBe('0')
})

it('a machine that forwards is left as it is', async () => {
  await forward()
  await set('conf/lo/forwarding', 0)
  await agent()
  await agent('undo')
  expect(await get('ip_forward')).toBe('1')
  expect(await get('conf/lo/forwarding')).toBe('0')
})
