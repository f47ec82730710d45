import { describe, expect, it } from 'vitest'
import { annotations, serviceAccounts } from '../../api/names.ts'
import type { Workload } from '../cluster/objects.ts'
import { wayOf } from '../cluster/not-cleaned.ts'
import { cleanPod } from './clean.ts'
import { manifests } from './manifests.ts'
import { objectName } from './object.ts'
import { defaultOptions } from './options.ts'

describe('pull secrets for insitu’s image', () => {
  const podsOf = (imagePullSecrets: readonly string[]) =>
    manifests({ ...defaultOptions(), mode: 'mixed', imagePullSecrets }).flatMap(({ object }) =>
      object.kind === 'Deployment' || object.kind === 'DaemonSet'
        ? [(object['spec'] as { template: { spec: Record<string, unknown> } }).template.spec['imagePullSecrets']]
        : [],
    )

  it('are in all pods: also one that waits for its image is replaced when they are said later', () => {
    const secrets = [{ name: 'corp' }, { name: 'mirror' }]
    expect(podsOf(['corp', 'mirror'])).toEqual([secrets, secrets, secrets, secrets])
    expect(podsOf([])).toEqual([undefined, undefined, undefined, undefined])
  })

  it('are those of the agents in pods that clean a node', () => {
    const { object } = manifests({ ...defaultOptions(), imagePullSecrets: ['corp'] }).find(
      ({ object }) => object.kind === 'DaemonSet',
    ) as { object: Workload }
    const way = wayOf(object)
    expect(cleanPod({ ...way, namespace: 'a', node: 'b', keepCache: false })['spec']).toMatchObject({
      imagePullSecrets: [{ name: 'corp' }],
    })
    // What a run of an older release remembered says none.
    const { imagePullSecrets: _, ...older } = way
    expect(cleanPod({ ...older, namespace: 'a', node: 'b', keepCache: false })['spec']).not.toHaveProperty(
      'imagePullSecrets',
    )
  })
})

describe('service meshes', () => {
  const off = { labels: { 'sidecar.istio.io/inject': 'false' }, annotations: { 'linkerd.io/inject': 'disabled' } }
  const workloads = manifests({ ...defaultOptions(), mode: 'mixed', buildkitdToml: 'a', allowPlaintext: ['::1'] })
    .map(({ object }) => object)
    .filter(({ kind }) => kind === 'Deployment' || kind === 'DaemonSet')

  it.each(workloads.map((object) => [objectName(object), object]))('put no sidecar into pods of %s', (_, object) => {
    const { template, selector } = object['spec'] as { template: { metadata: object }; selector: object }
    expect(template.metadata).toMatchObject(off)
    // Those of a selector cannot change: an installation of before would take no other.
    expect(JSON.stringify(selector)).not.toContain('istio')
    expect(JSON.stringify(object.metadata)).not.toContain('istio')
  })

  it('nor into pods that clean a node', () => {
    const of = { namespace: 'a', node: 'b', image: 'c', buildkitRoot: '/d', containerdAddress: undefined }
    expect(cleanPod({ ...of, keepCache: false }).metadata).toMatchObject(off)
  })

  it('while what has its digest in an annotation keeps it', () => {
    for (const object of workloads.filter(({ metadata }) => metadata.name !== serviceAccounts.controller)) {
      const { template } = object['spec'] as { template: { metadata: { annotations: Record<string, string> } } }
      expect(template.metadata.annotations[annotations.config]).toMatch(/^[0-9a-f]{64}$/)
    }
  })
})
