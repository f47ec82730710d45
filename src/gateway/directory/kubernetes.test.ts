import { createServer, type AddressInfo, type Socket } from 'node:net'
import { PassThrough } from 'node:stream'
import { afterEach, expect, test } from 'vitest'
import { annotations } from '../../api/names.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import { createLogger } from '../../kernel/log.ts'
import { createKubernetesDirectory } from './kubernetes.ts'

const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end()
})

const report = JSON.stringify({ version: 1, ready: true, state: 'ready', findings: [] })
const agentPod = (node: string, podIP: string) => ({
  metadata: { namespace: 'ours', name: node, uid: node, annotations: { [annotations.nodeReport]: report } },
  spec: { nodeName: node },
  status: { phase: 'Running', podIP },
})

/** Agents that take connections and say no word, on addresses of the loopback. */
async function silentAgents(agents: Readonly<Record<string, string>>) {
  const taken: { readonly ip: string; readonly socket: Socket }[] = []
  const server = createServer((socket) => {
    taken.push({ ip: socket.localAddress ?? '', socket: socket.on('error', () => undefined) })
  })
  await new Promise<void>((resolve) => server.listen(0, '0.0.0.0', resolve))
  ends.push(() => server.close())
  const events = new PassThrough()
  const client = {
    page(_resource: object, _options: object, take: (pod: object) => void) {
      for (const [node, ip] of Object.entries(agents)) take(agentPod(node, ip))
      return Promise.resolve({ metadata: { resourceVersion: '1' } })
    },
    openWatch: () => Promise.resolve(events),
  } as unknown as KubernetesClient
  const directory = createKubernetesDirectory({
    ...{ client, namespace: 'ours', logger: createLogger({ level: 'silent' }) },
    tls: { current: () => ({ cert: '', key: '', ca: '' }), onChange: () => () => undefined },
    port: (server.address() as AddressInfo).port,
    silence: { interval: 5 },
  })
  ends.push(async () => {
    events.end()
    await directory.stop()
    for (const { socket } of taken) socket.destroy()
  })
  await directory.whenSynced()
  return {
    directory,
    dial: (node: string) =>
      (directory.node(node)?.dial() ?? Promise.reject(new Error('no node'))).catch(() => 'failed'),
    event: (type: string, object: object) => events.write(`${JSON.stringify({ type, object })}\n`),
    /** Connections that were made to an address. */
    at: (ip: string) => taken.filter((one) => one.ip === ip).map(({ socket }) => socket),
    hangUp: (ip: string) => taken.forEach((one) => one.ip === ip && one.socket.destroy()),
  }
}

test('an agent whose pod went while it was dialled is asked no more', async () => {
  const { directory, dial, event, at, hangUp } = await silentAgents({ gone: '127.0.0.1', there: '127.0.0.2' })
  const failed = [dial('gone'), dial('there')]
  await expect.poll(() => [at('127.0.0.1').length, at('127.0.0.2').length]).toEqual([1, 1])
  event('DELETED', agentPod('gone', '127.0.0.1'))
  await expect.poll(() => directory.agents.has('gone')).toBe(false)
  hangUp('127.0.0.1')
  hangUp('127.0.0.2')
  expect(await Promise.all(failed)).toEqual(['failed', 'failed'])
  expect(directory.agents.get('there')).toMatchObject({ ready: false, silent: true })
  // One that is there is asked until it answers.
  await expect
    .poll(() => {
      hangUp('127.0.0.2')
      return at('127.0.0.2').length
    })
    .toBeGreaterThan(3)
  expect(at('127.0.0.1')).toHaveLength(1)
})

test('a silent agent that comes back with another address is asked there', async () => {
  const { directory, dial, event, at, hangUp } = await silentAgents({ n1: '127.0.0.1' })
  const failed = dial('n1')
  await expect.poll(() => at('127.0.0.1').length).toBe(1)
  hangUp('127.0.0.1')
  await failed
  event('MODIFIED', agentPod('n1', '127.0.0.3'))
  await expect.poll(() => directory.agents.get('n1')?.ip).toBe('127.0.0.3')
  expect(directory.agents.get('n1')).toMatchObject({ silent: true })
  await expect
    .poll(() => {
      hangUp('127.0.0.1')
      return at('127.0.0.3').length
    })
    .toBeGreaterThan(0)
})
