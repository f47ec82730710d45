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

const template = { spec: { containers: [{ name: 'app', image: 'team/web' }] } }
const object = (kind: string, more: object = {}, controller?: string): KubernetesObject => ({
  metadata: {
    ...{ namespace: 'default', name: 'x' },
    ...(controller === undefined
      ? {}
      : { ownerReferences: [{ apiVersion: 'apps/v1', kind, name: controller, uid: 'u', controller: true }] }),
  },
  ...{ spec: { template }, ...more },
})

test('a ReplicaSet of a Deployment stands for the Deployment, under which its pods are known', async () => {
  const pods = [{ name: 'web-2', node: 'n3', owner }]
  const objects = { 'replicasets/web-5f7c': object('Deployment', {}, 'web') }
  const { subject, place } = await find('rs/web-5f7c', { nodes, workloads, pods, objects })
  expect(subject.label).toBe('Deployment default/web')
  expect(place()).toMatchObject({
    node: 'n3',
    targets: ['n3'],
    reason: 'Deployment default/web runs there (insitu.for)',
  })
  const idle = await find('rs/web-5f7c', { nodes, workloads, objects })
  expect(idle.place().node).toMatch(/^n[23]$/)
})

test('a ReplicaSet of somebody else, without pods, is said to be there', async () => {
  const objects = { 'replicasets/x': object('Rollout', {}, 'canary') }
  await expect(find('rs/x', { nodes, objects })).rejects.toMatchObject({
    ...{ code: 'WORKLOAD_IDLE', status: 'FAILED_PRECONDITION' },
    message: 'ReplicaSet default/x has no pods on nodes, and Rollout canary decides when it gets some',
  })
})

test('a Job that is over is said to be over', async () => {
  const objects = { 'jobs/x': object('Job', { status: { completionTime: '2026-01-01T00:00:00Z' } }) }
  await expect(find('job/x', { nodes, objects })).rejects.toMatchObject({
    ...{ code: 'WORKLOAD_IDLE', status: 'FAILED_PRECONDITION' },
    message: 'Job default/x is over: it starts no more pods',
  })
  await expect(find('job/y', { nodes, objects })).rejects.toMatchObject({ code: 'WORKLOAD_UNKNOWN' })
})

test.each([
  ['Deployment', ['deploy', 'deployment', 'deployments'], 'apps'],
  ['StatefulSet', ['sts', 'statefulset', 'statefulsets'], 'apps'],
  ['DaemonSet', ['ds', 'daemonset', 'daemonsets'], 'apps'],
  ['ReplicaSet', ['rs', 'replicaset', 'replicasets'], 'apps'],
  ['Job', ['job', 'jobs'], 'batch'],
  ['CronJob', ['cj', 'cronjob', 'cronjobs'], 'batch'],
])(
  '%s is named as kubectl takes it: %j, each also with its group, and with version and group',
  (kind, names, group) => {
    const written = names.flatMap((name) => [name, `${name}.${group}`, `${name}.v1.${group}`, `${kind}.${group}`])
    expect(written.map((text) => parseWorkload(`${text}/web`, 'default').kind)).toEqual(written.map(() => kind))
  },
)

test.each(['po', 'pod', 'pods', 'Pod'])('a pod is %s', (text) => {
  expect(parseWorkload(`team/${text}/web`, 'default')).toEqual({ kind: 'Pod', namespace: 'team', name: 'web' })
})

test.each(['deploy.batch', 'job.apps', 'cj.', '.apps', 'pods.apps', 'deploy.v2.apps', 'services'])(
  '%s is no kind of a workload',
  (text) => {
    expect(() => parseWorkload(`${text}/web`, 'default')).toThrow(`"${text}/web" names no workload`)
  },
)
