import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Preflight } from '../../src/agent/host/preflight.ts'
import { createImages, type Images } from '../../src/agent/images/images.ts'
import type { RunningPart } from '../../src/agent/part.ts'
import { defaultAgentConfig } from '../../src/api/agent-config.ts'
import { clusterGateway } from '../../src/api/config.ts'
import { createImageWork } from '../../src/gateway/delivery/image-work.ts'
import { createInProgress } from '../../src/gateway/images/in-progress.ts'
import { createImageIndex } from '../../src/gateway/images/index.ts'
import { buildctl } from './fixtures/clients.ts'
import { startNode, type TestNode } from './fixtures/containerd.ts'
import { startGateway, type TestGateway } from './fixtures/gateway.ts'
import { silent } from './fixtures/mirror-peers.ts'
import { tool } from './fixtures/paths.ts'
import { until } from './fixtures/until.ts'

// A real containerd and buildkitd, the agent's keeper of images, and a gateway that tells it what was built.

const name = 'registry.test/team/app:v1'
const index = createImageIndex()
let node: TestNode
let part: RunningPart
let built: Images['built']
let gateway: TestGateway

beforeAll(async () => {
  node = await startNode()
  const [context, root] = [join(node.directory, 'context'), join(node.directory, 'agent')]
  await Promise.all([mkdir(context), mkdir(root)])
  await copyFile('/bin/busybox', join(context, 'busybox'))
  await writeFile(join(context, 'Dockerfile'), 'FROM scratch\nARG WHAT\nLABEL what=$WHAT\nCOPY busybox /bin/busybox\n')
  const config = join(node.directory, 'buildkitd.toml')
  await writeFile(
    config,
    `root = "${node.buildkitRoot}"\n[worker.oci]\nenabled = false\n[worker.containerd]\nnamespace = "k8s.io"\nsnapshotter = "overlayfs"\n`,
  )
  const address = 'unix:///run/buildkit.sock'
  node.start(tool('buildkitd'), ['--config', config, '--addr', address])
  await until('buildkitd', async () => {
    const { code } = await node.run(tool('buildctl'), ['--addr', address, 'debug', 'workers'])
    return code === 0
  })
  const images = createImages()
  built = images.built
  const host = { snapshotter: 'overlayfs', distribution: { root: join(node.directory, 'containerd') } } as Preflight
  const socket = `/proc/${node.pid}/root/run/buildkit.sock`
  part = await images.part.start({
    ...{ node: 'n1', env: {}, config: defaultAgentConfig, host, namespace: 'k8s.io', socket, log: silent },
    ...{ root, tmpdir: root, runDirectory: root, changed: () => {}, daemonPid: () => undefined, alone: () => false },
    containerd: `/proc/${node.pid}/root/run/containerd/containerd.sock`,
  })
  gateway = await startGateway({
    nodes: { n1: { socket } },
    config: { defaults: true },
    images: createImageWork({
      ...{ index, inProgress: createInProgress(), config: clusterGateway.delivery, logger: silent },
      agents: {
        built: (_, list, __, of) => built.built(list, of?.index, of?.ref),
        drop: () => Promise.resolve(),
        retract: () => Promise.resolve(),
        pull: () => Promise.resolve(0),
      },
      able: () => ['n1'],
      wake: () => Promise.resolve(),
      stuck: () => Promise.resolve([]),
      metrics: { delivered: 0, failed: 0, bytes: 0, running: 0 },
    }),
  })
})

afterAll(async () => {
  await gateway?.close()
  await part?.stop()
  await node?.stop()
})

/** @returns what the client is told of digests: one, of whichever output. */
async function build(what: string, ...outputs: readonly string[]): Promise<string> {
  const metadata = join(node.directory, 'metadata.json')
  const result = await buildctl(gateway.address, join(node.directory, 'context'), [
    ...['--opt', `build-arg:WHAT=${what}`, `--metadata-file=${metadata}`],
    ...outputs.map((output) => `--output=${output}`),
  ]).ended
  expect(result.exitCode, result.output).toBe(0)
  return (JSON.parse(await readFile(metadata, 'utf8')) as Record<string, string>)['containerimage.digest'] ?? ''
}

/** Gives an image another digest, as other layers do. */
const other = 'annotation.other=yes'

const digestOf = async (of: string): Promise<string | undefined> =>
  (await node.ctr(['images', 'list', `name==${of}`])).match(/sha256:[0-9a-f]{64}/)?.[0]

test('with an archive beside it the name stays that of the image, and the agent records that one', async () => {
  await build('before', `type=image,name=${name}`)
  const alone = await build('it', `type=image,name=registry.test/team/alone:v1`)
  const archive = await build(
    'it',
    `type=image,name=${name}`,
    `type=oci,dest=${join(node.directory, 'it.tar')},${other}`,
  )
  expect(archive).not.toBe(alone)
  expect(await digestOf(name)).toBe(alone)
  expect(built.find(name)?.digest).toBe(alone)
  expect(index.newest(name)?.digest).toBe(alone)
  const origins = (await built.origins()).filter((origin) => origin.name === name)
  expect(origins.map(({ digest }) => digest)).toEqual([alone])
})

test('two images of one build have their own digests', async () => {
  const [first, second] = ['first', 'second'].map((tag) => `registry.test/team/two:${tag}`) as [string, string]
  const said = await build('two', `type=image,name=${first}`, `type=image,name=${second},${other}`)
  expect(await digestOf(second)).toBe(said)
  expect(await digestOf(first)).not.toBe(said)
  for (const one of [first, second]) expect(built.find(one)?.digest).toBe(await digestOf(one))
})
