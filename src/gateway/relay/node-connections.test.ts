import { once } from 'node:events'
import { duplexPair } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import type { BuildNode } from '../directory/directory.ts'
import { errorCodes } from '../http2/errors.ts'
import { Http2Server } from '../http2/server.ts'
import type { Http2Stream } from '../http2/stream.ts'
import { createNodeConnections } from './node-connections.ts'
import { createUpstreams } from './upstream.ts'

const request = [':method', 'POST', ':scheme', 'http', ':path', '/x', ':authority', 'a']
const limits = { streamWindow: 256 << 10, maxConcurrentStreams: 10, maxHeaderListSize: 16 << 10 }
const open: { destroy(): void }[] = []

afterEach(() => {
  for (const one of open.splice(0)) one.destroy()
})

/** A daemon that answers no call, and the ways of two clients to it. */
function setup({ most = 10, ...options }: { readonly fresh?: number; readonly most?: number } = {}) {
  const daemons: Http2Server[] = []
  const calls: Http2Stream[] = []
  const agent = { uid: 'first', away: false }
  const node: BuildNode = {
    ...{ name: 'a', report: undefined, ready: true, proxy: () => Promise.resolve({}), instance: () => agent.uid },
    dial: async () => {
      await sleep(5)
      if (agent.away) throw new Error('nobody listens')
      const [near, far] = duplexPair()
      const daemon = new Http2Server(far, { ...limits, maxConcurrentStreams: most })
      daemon.on('stream', (stream) => void calls.push(stream))
      daemons.push(daemon)
      open.push(daemon, near)
      return near
    },
  }
  const counts = { open: 0 }
  const connections = createNodeConnections({
    vigil: { over: () => () => undefined },
    telemetry: { opened: () => ((counts.open += 1), () => void (counts.open -= 1)) },
    ...options,
  })
  const clients = [createUpstreams(connections), createUpstreams(connections)] as const
  const seen = async (count: number): Promise<void> => {
    while (calls.length < count) await sleep(1)
  }
  return { node, agent, daemons, calls, counts, connections, clients, seen }
}

test('clients that come at once and later share one connection, and one that goes ends its own calls alone', async () => {
  const { node, daemons, calls, clients, seen } = setup()
  const [one, other] = await Promise.all(clients.map((client) => client.to(node)))
  const mine = one!.request(request)
  const theirs = other!.request(request)
  expect(daemons).toHaveLength(1)
  await seen(2)
  clients[0].close()
  await once(mine, 'close')
  expect(mine.rstCode).toBe(errorCodes.CANCEL)
  expect(() => one!.request(request)).toThrow('the client is gone')
  await sleep(20)
  expect([theirs.closed, ...calls.map((call) => call.closed)]).toEqual([false, true, false])
})

test('a connection ends with its last client', async () => {
  const { node, daemons, counts, clients } = setup()
  await clients[0].to(node)
  await clients[1].to(node)
  clients[0].close()
  await sleep(20)
  expect([daemons.length, counts.open], 'used').toEqual([1, 1])
  clients[1].close()
  await sleep(5)
  expect(counts.open).toBe(0)
})

test('a client that comes in the moment in which the last one goes has its connection', async () => {
  const { node, daemons, connections } = setup()
  const last = await connections.take(node)
  const coming = connections.take(node)
  last.release()
  const { connection, release } = await coming
  expect(connection.lost()).toBeUndefined()
  release()
  expect([connection.lost()?.code, daemons.length]).toEqual(['NODE_LOST', 1])
})

test.each([
  ['of a certain age', 30, 'first'],
  ['to an agent that was replaced', 60_000, 'second'],
])('one %s gets no new clients and stays for those it has', async (_, fresh, uid) => {
  const { node, agent, daemons, counts, clients } = setup({ fresh })
  const [early, late] = clients
  const upstream = await early.to(node)
  await sleep(40)
  agent.uid = uid
  await late.to(node)
  expect(daemons).toHaveLength(2)
  expect(await early.to(node), 'a client stays where it is').toBe(upstream)
  early.close()
  await sleep(5)
  expect([daemons[0]!.destroyed, daemons[1]!.destroyed, counts.open]).toEqual([true, false, 1])
})

test.each([2, 4])('a daemon that takes %i calls of a connection at once gets another one', async (most) => {
  const { node, daemons, counts, clients, seen } = setup({ most })
  const [early, late] = clients
  const first = await early.to(node)
  const settled = first.request(request)
  await seen(1)
  settled.close()
  for (let n = 0; n < 2; n++) first.request(request)
  const second = await late.to(node)
  for (let n = 0; n < 2; n++) second.request(request)
  await seen(5)
  expect([daemons.length, ...daemons.map((daemon) => daemon.openStreams)]).toEqual([2, 2, 2])
  expect(await early.to(node), 'a client stays where it is').toBe(first)
  early.close()
  late.close()
  await sleep(5)
  expect(counts.open).toBe(0)
})

test('an answer that had come as a whole can be read after its connection was lost and followed by a new one', async () => {
  const { node, daemons, calls, clients, seen } = setup()
  const first = await clients[0].to(node)
  const call = first.request(request)
  call.pause()
  call.end()
  await seen(1)
  calls[0]!.resume()
  calls[0]!.respond([':status', '200'])
  calls[0]!.end(Buffer.alloc(10_000))
  while (!call.closed) await sleep(1)
  daemons[0]!.destroy()
  while (!first.lost()) await sleep(1)
  expect(await clients[0].to(node)).not.toBe(first)
  let bytes = 0
  call.on('data', (chunk) => (bytes += chunk.length)).resume()
  await expect.poll(() => bytes).toBe(10_000)
})

test('a connection that is lost, or takes no more calls, is followed by a new one', async () => {
  const { node, agent, daemons, clients } = setup()
  const [client, other] = clients
  const first = await client.to(node)
  const call = first.request(request)
  daemons[0]!.destroy()
  await once(call, 'close')
  expect(first.lost()?.code).toBe('NODE_LOST')
  agent.away = true
  await expect(client.to(node)).rejects.toThrow('its build daemon cannot be reached')
  agent.away = false
  const second = await client.to(node)
  expect(second.lost()).toBeUndefined()
  daemons[1]!.shutdown()
  while (daemons.length < 3) {
    await client.to(node)
    await sleep(5)
  }
  await other.to(node)
  expect(daemons).toHaveLength(3)
})
