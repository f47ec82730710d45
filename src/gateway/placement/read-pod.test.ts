import { expect, test } from 'vitest'
import { createImageNames } from './image-names.ts'
import { readPod, type RawPod } from './read-pod.ts'
import { sketch } from '../../../test/unit/placement/sketch.ts'

const names = createImageNames()
const read = (pod: RawPod) => readPod(pod, names, sketch({ nodes: {} }))

const base: RawPod = {
  metadata: { name: 'web-1', namespace: 'default', creationTimestamp: '2026-01-02T03:04:05Z' },
  spec: { nodeName: 'n1', containers: [{ name: 'app', image: 'team/web', imagePullPolicy: 'Never' }] },
  status: {
    phase: 'Pending',
    podIP: '10.0.0.7',
    containerStatuses: [{ name: 'app', state: { waiting: { reason: 'ErrImageNeverPull' } } }],
  },
}
const running = { ...base.status, phase: 'Running', containerStatuses: [{ name: 'app', state: { running: {} } }] }
const owned = (kind: string, name: string) => [{ apiVersion: 'v1', kind, name, uid: 'u', controller: true }]

test('a container that waits for its image, under its normalised name', () => {
  expect(read(base)).toMatchObject({
    namespace: 'default',
    name: 'web-1',
    node: 'n1',
    created: Date.parse('2026-01-02T03:04:05Z'),
    owner: undefined,
    ip: '10.0.0.7',
    secondIp: undefined,
    serviceAccount: 'default',
    waiting: [{ image: 'docker.io/team/web:latest', reason: 'ErrImageNeverPull', pullPolicy: 'Never' }],
    rolling: [],
  })
})

test('who it is to the gateway: its service account, and its addresses of both families', () => {
  const status = { ...base.status, podIPs: [{ ip: '10.0.0.7' }, { ip: 'fd00::7' }] }
  const pod = read({ ...base, spec: { ...base.spec, serviceAccountName: 'builder' }, status })
  expect(pod).toMatchObject({ serviceAccount: 'builder', ip: '10.0.0.7', secondIp: 'fd00::7' })
  const host = read({ ...base, spec: { ...base.spec, hostNetwork: true }, status })
  expect(host).toMatchObject({ ip: undefined, secondIp: undefined })
})

test('init and ephemeral containers wait as well', () => {
  const pod: RawPod = {
    ...base,
    spec: {
      nodeName: 'n1',
      initContainers: [{ name: 'init', image: 'a:1' }],
      containers: [{ name: 'app', image: 'b:1' }],
      ephemeralContainers: [{ name: 'debug', image: 'c:1' }],
    },
    status: {
      phase: 'Pending',
      initContainerStatuses: [{ name: 'init', state: { waiting: { reason: 'ImagePullBackOff' } } }],
      containerStatuses: [{ name: 'app', state: { waiting: { reason: 'PodInitializing' } } }],
      ephemeralContainerStatuses: [{ name: 'debug', state: { waiting: { reason: 'ErrImagePull' } } }],
    },
  }
  expect(read(pod)?.waiting.map((w) => `${w.image} ${w.reason}`)).toEqual([
    'docker.io/library/a:1 ImagePullBackOff',
    'docker.io/library/b:1 PodInitializing',
    'docker.io/library/c:1 ErrImagePull',
  ])
})

test.each([
  ['the pod is not on a node yet', { ...base, spec: { containers: [{ name: 'app', image: 'a' }] } }],
  ['the pod is being deleted', { ...base, metadata: { ...base.metadata, deletionTimestamp: '2026-01-02T03:04:06Z' } }],
  ['the container runs', { ...base, status: running }],
  [
    'it crashes',
    {
      ...base,
      status: { containerStatuses: [{ name: 'app', state: { waiting: { reason: 'CrashLoopBackOff' } } }] },
    },
  ],
  ['the image is no name', { ...base, spec: { nodeName: 'n1', containers: [{ name: 'app', image: 'NOT/A NAME' }] } }],
])('nothing waits when %s', (_, pod: RawPod) => {
  expect(read(pod)?.waiting).toEqual([])
})

test('a pod that the kubelet has not looked at yet waits', () => {
  expect(read({ ...base, status: { phase: 'Pending' } })?.waiting[0]?.reason).toBe('Scheduled')
})

test('finished pods are not kept', () => {
  expect(read({ ...base, status: { phase: 'Succeeded' } })).toBeUndefined()
  expect(read({ ...base, status: { phase: 'Failed' } })).toBeUndefined()
})

test('a pod in its node’s network has no address of its own', () => {
  expect(read({ ...base, spec: { ...base.spec, hostNetwork: true } })?.ip).toBeUndefined()
})

test.each([
  ['DaemonSet', {}, true],
  ['StatefulSet', {}, true],
  ['ReplicaSet', {}, false],
  ['Job', { nodeSelector: { a: 'b' } }, false],
  ['ReplicaSet', { nodeSelector: { a: 'b' } }, true],
  [
    'ReplicaSet',
    { affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [] } } } },
    true,
  ],
])('rolls in place: %s %j %s', (kind, spec, expected) => {
  const pod: RawPod = {
    metadata: { ...base.metadata, ownerReferences: owned(kind, 'x') },
    spec: { ...base.spec, ...spec },
    status: running,
  }
  expect(read(pod)?.rolling).toEqual(expected ? ['docker.io/team/web:latest'] : [])
})

test('a pod without owner does not roll', () => {
  expect(read({ ...base, spec: { ...base.spec, nodeSelector: { a: 'b' } }, status: running })?.rolling).toEqual([])
})

test('the Deployment behind a ReplicaSet is the owner', () => {
  const pod = (labels: Record<string, string>): RawPod => ({
    ...base,
    metadata: { ...base.metadata, labels, ownerReferences: owned('ReplicaSet', 'web-api-5f7c9') },
  })
  expect(read(pod({ 'pod-template-hash': '5f7c9' }))?.owner).toEqual({ kind: 'Deployment', name: 'web-api' })
  expect(read(pod({}))?.owner).toEqual({ kind: 'ReplicaSet', name: 'web-api-5f7c9' })
})
