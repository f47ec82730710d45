import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { startFront, type Front } from '../../src/agent/front/front.ts'
import type { Preflight } from '../../src/agent/host/preflight.ts'
import { createImages } from '../../src/agent/images/images.ts'
import type { RunningPart } from '../../src/agent/part.ts'
import { defaultAgentConfig } from '../../src/api/agent-config.ts'
import { spiffe } from '../../src/api/certificate.ts'
import { clusterGateway } from '../../src/api/config.ts'
import { namespace } from '../../src/api/names.ts'
import { imageParts, type ImageParts } from '../../src/cli/gateway-images.ts'
import { createKubernetesDirectory, type KubernetesDirectory } from '../../src/gateway/directory/kubernetes.ts'
import { watchCluster, type LiveView } from '../../src/gateway/placement/view.ts'
import { createProgress } from '../../src/gateway/progress/progress.ts'
import type { KubernetesClient } from '../../src/kernel/k8s/client.ts'
import type { InsituError } from '../../src/kernel/errors.ts'
import { createAuthority } from '../../src/kernel/tls/ca.ts'
import { type ApiServer, startApiServer } from './fixtures/apiserver.ts'
import { createCluster, type Cluster } from './fixtures/cluster.ts'
import { startNode, type TestNode } from './fixtures/containerd.ts'
import { agentTls, gatewayTls, silent } from './fixtures/mirror-peers.ts'
import { tool } from './fixtures/paths.ts'
import { until } from './fixtures/until.ts'

// A real containerd and buildkitd, the agent's keeper of images behind its real port, and a gateway's work on images with
// the agents as a real API server shows them.

const name = 'registry.test/team/app:v1'
let node: TestNode
let server: ApiServer
let client: KubernetesClient
let cluster: Cluster
let part: RunningPart
let front: Front
let directory: KubernetesDirectory
let view: LiveView
let gateway: ImageParts
/** Another gateway, which has just been started. */
let start: () => ImageParts

beforeAll(async () => {
  ;[node, server] = await Promise.all([startNode(), startApiServer()])
  client = await server.client()
  cluster = createCluster(client)
  await cluster.namespace(namespace)
  const [context, root] = [join(node.directory, 'context'), join(node.directory, 'agent')]
  await Promise.all([mkdir(context), mkdir(root)])
  await copyFile('/bin/busybox', join(context, 'busybox'))
  await writeFile(join(context, 'Dockerfile'), 'FROM scratch\nARG WHAT\nLABEL what=$WHAT\nCOPY busybox /bin/busybox\n')
  const config = join(node.directory, 'buildkitd.toml')
  await writeFile(
    config,
    `root = "${node.buildkitRoot}"\n[worker.oci]\nenabled = false\n[worker.containerd]\nnamespace = "k8s.io"\nsnapshotter = "overlayfs"\n`,
  )
  node.start(tool('buildkitd'), ['--config', config, '--addr', 'unix:///run/buildkit.sock'])
  await until('buildkitd', async () => (await buildctl(['debug', 'workers'])).code === 0)

  const images = createImages()
  const host = { snapshotter: 'overlayfs', distribution: { root: join(node.directory, 'containerd') } } as Preflight
  const socket = `/proc/${node.pid}/root/run/buildkit.sock`
  part = await images.part.start({
    ...{ node: 'n1', env: {}, config: defaultAgentConfig, host, namespace: 'k8s.io', socket, log: silent },
    ...{ root, tmpdir: root, runDirectory: root, changed: () => {}, daemonPid: () => undefined, alone: () => false },
    containerd: `/proc/${node.pid}/root/run/containerd/containerd.sock`,
  })
  const authority = await createAuthority()
  front = await startFront({
    ...{ host: '127.0.0.1', port: 0, tls: await agentTls(authority, 'n1'), socket, log: silent },
    ...{ client: spiffe(namespace, 'insitu-gateway'), handlers: () => part.handlers ?? [] },
  })
  const tls = await gatewayTls(authority)
  directory = createKubernetesDirectory({ client, namespace, tls, logger: silent, port: front.port })
  view = watchCluster({ client, logger: silent, agents: () => directory.agents })
  start = () =>
    imageParts({
      ...{ client, namespace, tls, config: clusterGateway.delivery, logger: silent },
      ...{ agents: () => directory.agents, view: () => view, running: () => 0 },
      peer: ({ node: of, ip }) => (ip === undefined ? undefined : { node: of, host: ip, port: front.port }),
    })
  gateway = start()
  directory.onChange((of) => gateway.onAgent(of, directory.agents.get(of)))
  await cluster.agent('n1')
  await until('the agent', () => directory.agents.get('n1')?.ready)
  await cluster.agent('n1', { ready: false, state: 'draining' })
  await until('the drain', () => directory.agents.get('n1')?.draining)
})

afterAll(async () => {
  await gateway?.close()
  await directory?.stop()
  await view?.stop()
  await front?.close()
  await part?.stop()
  client?.close()
  await server?.close()
  await node?.stop()
})

const buildctl = (args: readonly string[]) =>
  node.run(tool('buildctl'), ['--addr', 'unix:///run/buildkit.sock', ...args])

/** A build as a gateway sees it through. @returns its digest. */
async function build(what: string): Promise<string> {
  const [context, metadata] = [join(node.directory, 'context'), join(node.directory, 'metadata.json')]
  const { code, stderr } = await buildctl([
    ...['build', '--frontend', 'dockerfile.v0', '--local', `context=${context}`, '--local', `dockerfile=${context}`],
    ...['--opt', `build-arg:WHAT=${what}`, '--output', `type=image,name=${name},unpack=true`],
    ...['--metadata-file', metadata],
  ])
  expect(code, stderr).toBe(0)
  const said = JSON.parse(await readFile(metadata, 'utf8')) as Record<string, string>
  const digest = said['containerimage.digest'] ?? ''
  expect(await finish(digest, ['n1'])).toBeUndefined()
  return digest
}

const finish = (digest: string, placed: readonly string[]): Promise<InsituError | undefined> =>
  gateway.images.finish(
    {
      ...{ node: 'n1', placed, named: new Map([[name, digest]]), wish: { required: true }, progress: createProgress() },
      signal: new AbortController().signal,
    },
    gateway.images.begin([name]),
  )

const digestOf = async (): Promise<string | undefined> =>
  (await node.ctr(['images', 'list', `name==${name}`])).match(/sha256:[0-9a-f]{64}/)?.[0]

it('a rebuild that ends on an agent which is being stopped is recorded there, and others can have it from there', async () => {
  const first = await build('first')
  expect(await digestOf()).toBe(first)
  const second = await build('second')
  expect(second).not.toBe(first)
  // Longer than the keeper leaves a name that was overwritten.
  const since = performance.now()
  await until('the keeper to have had its time', () => performance.now() - since > 2000)
  expect(await digestOf()).toBe(second)
  expect(gateway.images.holders(name)).toEqual(['n1'])
})

it('a gateway that has just started is not ready before it knows which images the nodes have', async () => {
  const another = start()
  try {
    another.onAgent('n1', directory.agents.get('n1'))
    expect(another.notReady()).toBe('the images of 1 of the nodes are still being read')
    await until('it to be ready', () => another.notReady() === undefined)
    expect(another.images.holders(name)).toEqual(['n1'])
  } finally {
    await another.close()
  }
})

it('a target whose node is not ready is named, whatever its agent reported last', async () => {
  await cluster.node('n2', { ready: false })
  await cluster.agent('n2')
  await until('the node that died', () => view.nodes.has('n2') && directory.agents.get('n2')?.ready)
  const error = await finish((await digestOf()) ?? '', ['n1', 'n2'])
  expect(error?.message).toBe(`${name} is on node n1 and could not be delivered to n2 (the node is not ready)`)
})
