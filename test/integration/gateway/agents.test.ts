import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type AddressInfo, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { createLastEnd, type LastEnd } from '../../../src/agent/buildkitd/last-end.ts'
import { startFront, type Front } from '../../../src/agent/front/front.ts'
import { sendJson } from '../../../src/agent/front/handlers.ts'
import { agentPaths } from '../../../src/api/agent-api.ts'
import { agentServerName, spiffe } from '../../../src/api/certificate.ts'
import { namespace, serviceAccounts } from '../../../src/api/names.ts'
import type { BuildNode } from '../../../src/gateway/directory/directory.ts'
import { createKubernetesDirectory, type KubernetesDirectory } from '../../../src/gateway/directory/kubernetes.ts'
import type { KubernetesClient } from '../../../src/kernel/k8s/client.ts'
import { resources } from '../../../src/kernel/k8s/resources.ts'
import { createLogger } from '../../../src/kernel/log.ts'
import { createAuthority, issueLeaf, type Authority } from '../../../src/kernel/tls/ca.ts'
import { createKeyPair } from '../../../src/kernel/tls/key.ts'
import type { TlsMaterial, TlsSource } from '../../../src/kernel/tls/material.ts'
import { startApiServer, type ApiServer } from '../fixtures/apiserver.ts'
import { createCluster, type Cluster } from '../fixtures/cluster.ts'
import { until } from '../fixtures/until.ts'

const logger = createLogger({ level: 'silent' })
const gatewayUri = spiffe(namespace, serviceAccounts.gateway)
const proxy = { HTTPS_PROXY: 'http://proxy.test:3128', no_proxy: '.svc' }

let server: ApiServer
let client: KubernetesClient
let cluster: Cluster
let authority: Authority
let gatewayTls: TlsMaterial
let home: string
/** Stands in for buildkitd: answers every byte with the same byte. */
let daemon: Server
let front: Front | undefined
let lastEnd: LastEnd
let directory: KubernetesDirectory | undefined

async function material(options: { uri?: string; dns?: string; from?: Authority }): Promise<TlsMaterial> {
  const { privateKey, publicKey } = await createKeyPair()
  const { cert } = await issueLeaf({
    authority: options.from ?? authority,
    publicKey,
    commonName: 'test',
    ...(options.uri === undefined ? {} : { uris: [options.uri] }),
    ...(options.dns === undefined ? {} : { dnsNames: [options.dns] }),
  })
  return { cert, key: privateKey, ca: authority.cert }
}
const fixed = (value: TlsMaterial): TlsSource => ({ current: () => value, onChange: () => () => {} })

beforeAll(async () => {
  server = await startApiServer()
  client = await server.client()
  cluster = createCluster(client)
  await cluster.namespace(namespace)
  authority = await createAuthority()
  gatewayTls = await material({ uri: gatewayUri })
  home = await mkdtemp(join(tmpdir(), 'insitu-agents-'))
  daemon = createServer((socket) => socket.on('error', () => {}).pipe(socket))
  await new Promise<void>((resolve) => daemon.listen(join(home, 'buildkitd.sock'), resolve))
})
afterAll(async () => {
  daemon?.close()
  client?.close()
  await server?.close()
  await rm(home, { recursive: true, force: true })
})
beforeEach(async () => {
  await cluster.clear()
  await cluster.agent('n1')
  lastEnd = createLastEnd()
})
afterEach(async () => {
  await directory?.stop()
  await front?.close()
  front = undefined
})

const agent = async (dns = agentServerName('n1'), port = 0): Promise<Front> =>
  (front = await startFront({
    ...{ host: '127.0.0.1', port, tls: fixed(await material({ dns })), client: gatewayUri, log: logger },
    socket: join(home, 'buildkitd.sock'),
    handlers: () => [
      lastEnd.handler,
      {
        ...{ methods: ['GET'], path: agentPaths.proxy, allow: ['gateway'] },
        handle: (_, response) => sendJson(response, 200, proxy),
      },
    ],
  }))

/** Why nodes will be gone soon. */
let leaving: string | undefined

async function node(port: number, more: { tls?: TlsMaterial; proxyCache?: number } = {}): Promise<BuildNode> {
  const { tls = gatewayTls, ...rest } = more
  const opened = createKubernetesDirectory({
    ...{ client, namespace, tls: fixed(tls), logger, port },
    leaving: () => leaving,
    ...rest,
  })
  directory = opened
  return until('the agent is known', () => opened.nodes()[0])
}

const failure = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'it worked',
    (e: unknown) => e,
  )

test('dial() gives a byte stream to the daemon behind the agent', async () => {
  const stream = await (await node((await agent()).port)).dial()
  stream.write('ping')
  expect(String((await stream.iterator({ destroyOnReturn: false }).next()).value)).toBe('ping')
  stream.destroy()
})

test('an agent with the certificate of another node is refused', async () => {
  const other = await node((await agent(agentServerName('n2'))).port)
  expect(await failure(other.dial())).toMatchObject({
    code: 'AGENT_UNREACHABLE',
    status: 'UNAVAILABLE',
    message: expect.stringMatching(
      /the agent of node n1 \(127\.0\.0\.1:\d+\) cannot be reached: .*n1\.node\.insitu/,
    ) as string,
  })
})

test('an agent of another authority is refused', async () => {
  const foreign = await createAuthority()
  const tls = { ...gatewayTls, ca: foreign.cert }
  expect(await failure((await node((await agent()).port, { tls })).dial())).toMatchObject({ code: 'AGENT_UNREACHABLE' })
})

test('an agent that is not there, and one that says nothing, are errors with a reason', async () => {
  const port = (await agent()).port
  await front?.close()
  expect(await failure((await node(port)).dial())).toMatchObject({
    message: expect.stringContaining('ECONNREFUSED') as string,
  })
  await directory?.stop()
  const silent = createServer()
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
  const started = Date.now()
  const quiet = await node((silent.address() as AddressInfo).port)
  expect(await failure(quiet.dial())).toMatchObject({
    message: expect.stringContaining('no answer within 5 s') as string,
  })
  expect(Date.now() - started).toBeLessThan(15_000)
  const stop = new AbortController()
  const dialling = failure(quiet.dial(stop.signal))
  stop.abort(new Error('the client is gone'))
  expect(await dialling).toMatchObject({ message: 'the client is gone' })
  silent.close()
})

test('fate() is what the agent says of the end of its daemon, also when it learns of it a moment later', async () => {
  const n1 = await node((await agent()).port)
  const fate = n1.fate?.()
  setTimeout(
    () => lastEnd.ended({ cause: 'memory', reason: 'buildkitd was killed by the kernel for want of memory' }),
    100,
  )
  expect(await fate).toBe('buildkitd was killed by the kernel for want of memory')
  lastEnd.running()
  lastEnd.ended({ cause: 'stopped', reason: 'stopped' })
  expect(await n1.fate?.()).toBe('its agent was stopped')
})

test('fate() of a daemon that ended with its agent is what the kubelet says, or that it is being stopped', async () => {
  const pod = { namespace, name: 'insitu-agent-n1' }
  const { port } = await agent()
  const n1 = await node(port)
  await front?.close()
  // As a kubelet does it: a second after the end.
  const fate = n1.fate?.()
  const terminated = {
    ...{ reason: 'OOMKilled', exitCode: 137, startedAt: '2026-01-01T00:00:00Z', finishedAt: '2026-01-01T00:00:01Z' },
    containerID: 'containerd://0',
  }
  const status = {
    name: 'agent',
    image: '',
    imageID: '',
    ready: false,
    restartCount: 1,
    state: {},
    lastState: { terminated },
  }
  await client.patch(resources.pods, { ...pod, subresource: 'status' }, { status: { containerStatuses: [status] } })
  expect(await fate).toBe('the kernel killed its agent for want of memory')
  await client.delete(resources.pods, pod, { gracePeriodSeconds: 600 })
  await until('it drains', () => directory?.agents.get('n1')?.draining)
  expect(await n1.fate?.()).toBe('its agent was stopped')
  leaving = 'its kubelet shuts it down'
  expect(await n1.fate?.()).toBe('its agent was stopped, as the node is going away: its kubelet shuts it down')
  leaving = undefined
  expect(directory?.lately?.()).toEqual([])
  await client.delete(resources.pods, pod, { gracePeriodSeconds: 0 })
  await until('its node is gone, a moment ago', () => directory?.node('n1') === undefined)
  expect(directory?.lately?.()).toEqual(['n1'])
})

test('proxy variables are fetched once within their time, and again after a failure', async () => {
  const { port } = await agent()
  const first = await node(port)
  expect(await first.proxy()).toEqual(proxy)
  await front?.close()
  expect(await first.proxy()).toEqual(proxy)
  await directory?.stop()
  const second = await node(port)
  expect(await failure(second.proxy())).toMatchObject({ code: 'AGENT_UNREACHABLE' })
  await agent(undefined, port)
  expect(await second.proxy()).toEqual(proxy)
})
