import { expect, test } from 'vitest'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import type { KubernetesObject } from '../../kernel/k8s/objects.ts'
import type { ObjectRef, Resource } from '../../kernel/k8s/resources.ts'
import type { PlacementRequest } from './placer.ts'
import { place } from './place.ts'
import { createImageNames } from './image-names.ts'
import { findSubject, parseWorkload } from './subject.ts'
import type { LiveView } from './view.ts'
import { ask, sketch, workloadFacts, type PodSketch, type Sketch } from '../../../test/unit/placement/sketch.ts'

interface Known extends Sketch {
  /** What the API server has and the view does not, by `RESOURCE/NAME`. */
  readonly objects?: Readonly<Record<string, KubernetesObject & { readonly spec?: object; readonly status?: object }>>
}

async function find(workload: string, { objects = {}, ...cluster }: Known) {
  const model = sketch(cluster)
  const view = {
    ...{ world: model.world, images: createImageNames(), pod: () => undefined },
    workload: (kind: string, _: string, name: string) =>
      cluster.workloads?.map(workloadFacts).find((w) => w.kind === kind && w.name === name),
  } as unknown as LiveView
  const client = {
    find: ({ plural }: Resource, { name }: ObjectRef) => Promise.resolve(objects[`${plural}/${name}`]),
  } as unknown as KubernetesClient
  const subject = await findSubject(parseWorkload(workload, 'default'), view, client)
  const request: Partial<PlacementRequest> = { images: ['docker.io/team/web:v2'], workload }
  return { subject, place: () => place(ask(model, request, subject)).placement }
}

const owner = { kind: 'Deployment', name: 'web' }
const workloads = [{ images: ['docker.io/team/web:v1'] }]
const dying: PodSketch = { name: 'web-1', node: 'dead', owner, profile: { terminating: true } }
const nodes = { dead: { ready: false, taints: [{ key: 'gone', value: '', effect: 'NoSchedule' }] }, n2: {}, n3: {} }

test('a workload whose only pod is being deleted has none on a node: its template decides', async () => {
  const { subject, place } = await find('deploy/web', { nodes, workloads, pods: [dying] })
  expect(subject.pods).toEqual([])
  expect(place()).toMatchObject({ rule: 'said', targets: [expect.stringMatching(/^n[23]$/) as string] })
})

test('where a replacement runs it alone is the target', async () => {
  const pods = [dying, { name: 'web-2', node: 'n3', created: 1, owner }]
  const { place } = await find('deploy/web', { nodes, workloads, pods })
  expect(place()).toMatchObject({ node: 'n3', targets: ['n3'] })
})
