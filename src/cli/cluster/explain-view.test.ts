import { PassThrough } from 'node:stream'
import { expect, test } from 'vitest'
import { annotations } from '../../api/names.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import type { Resource } from '../../kernel/k8s/resources.ts'
import { explainNow, explanationText, type ExplainOptions } from './explain-view.ts'

interface Sketch {
  readonly mode?: 'rootless'
  readonly arch?: string
  readonly platforms?: readonly string[]
}

/** A cluster of nodes of which nothing is known but how their agents build. */
function clientOf(nodes: Readonly<Record<string, Sketch>>): KubernetesClient {
  const objects: Record<string, readonly object[]> = {
    nodes: Object.entries(nodes).map(([name, { arch = 'amd64' }]) => ({
      metadata: { name },
      status: {
        conditions: [{ type: 'Ready', status: 'True' }],
        nodeInfo: { operatingSystem: 'linux', architecture: arch },
      },
    })),
  }
  const agents = Object.entries(nodes).map(([nodeName, { mode, platforms = ['linux/amd64'] }]) => {
    const report = { version: 1, ready: true, state: 'ready', findings: [], platforms, mode }
    return {
      metadata: {
        namespace: 'ours',
        name: nodeName,
        annotations: { [annotations.nodeReport]: JSON.stringify(report) },
      },
      ...{ spec: { nodeName }, status: { phase: 'Running', podIP: '127.0.0.1' } },
    }
  })
  const client = {
    namespace: 'default',
    list: () => Promise.resolve(agents),
    page({ plural }: Resource, _: object, take: (object: object) => void) {
      for (const object of objects[plural] ?? []) take(object)
      return Promise.resolve({ metadata: { resourceVersion: '1' } })
    },
    openWatch: (_: Resource, __: undefined, ___: object, { signal }: { signal: AbortSignal }) => {
      const stream = new PassThrough()
      signal.addEventListener('abort', () => stream.end(), { once: true })
      return Promise.resolve(stream)
    },
  }
  return client as unknown as KubernetesClient
}

const rootless = { mode: 'rootless' } as const
const ask = (nodes: Readonly<Record<string, Sketch>>, more: Partial<ExplainOptions> = {}) =>
  explainNow({
    ...{ client: clientOf(nodes), namespace: 'ours', image: 'team/web:v2', workload: undefined, node: undefined },
    ...{ platforms: [], push: false, say: () => undefined, ...more },
  })

test('an image that is to stay is built where it can, as the gateway decides', async () => {
  for (const image of ['a', 'b', 'c', 'd', 'e', 'f']) {
    const { placement, nodes } = await ask({ n1: rootless, n2: {}, n3: rootless }, { image })
    expect(placement?.node).toBe('n2')
    const reason = 'cannot keep images: it builds rootless: push the image instead'
    expect(nodes).toContainEqual(expect.objectContaining({ node: 'n1', verdict: 'rejected', reason }))
  }
})

test('one that is pushed, and a build without a name, are built on any node', async () => {
  const builders = new Set<string | undefined>()
  for (const image of ['a', 'b', 'c', 'd', 'e', 'f']) {
    const { placement, nodes } = await ask({ n1: rootless, n2: {}, n3: rootless }, { image, push: true })
    builders.add(placement?.node)
    expect(nodes.every(({ verdict }) => verdict !== 'rejected')).toBe(true)
  }
  expect(builders.size).toBeGreaterThan(1)
  const nameless = await ask({ n1: rootless, n2: {} }, { image: undefined, node: 'n1' })
  expect(nameless.placement?.node).toBe('n1')
})

test('where no node keeps images it is refused in the words of the gateway', async () => {
  const refused = await ask({ n1: rootless, n2: rootless })
  expect(refused.refusal?.code).toBe('IMAGE_CANNOT_STAY')
  expect(explanationText(refused)).toContain(
    'docker.io/team/web:v2 would be refused: images cannot stay on the nodes here',
  )
  expect((await ask({ n1: rootless, n2: rootless }, { push: true })).placement?.rule).toBe('anywhere')
})

test('what goes to the client as a stream stays nowhere: any node may do it all', async () => {
  const all = ['linux/amd64', 'linux/arm64']
  const nodes = { n1: { ...rootless, platforms: all }, n2: {}, n3: { arch: 'arm64', platforms: ['linux/arm64'] } }
  const { parts, whole } = await ask(nodes, { platforms: all })
  expect(parts.map(({ placement }) => placement.node).toSorted()).toEqual(['n2', 'n3'])
  expect(whole).toMatchObject({ placement: { node: 'n1' }, refusal: undefined })
  const none = await ask({ n2: nodes.n2, n3: nodes.n3 }, { platforms: all })
  expect(none.whole).toMatchObject({ placement: undefined, refusal: { code: 'NO_NODE' } })
})
