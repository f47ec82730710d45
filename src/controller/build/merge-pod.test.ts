import { expect, it } from 'vitest'
import type { PodTemplate } from '../../api/builds/pod-template.ts'
import { mergePodTemplate } from './merge-pod.ts'

const ours: PodTemplate = {
  metadata: { annotations: { work: 'ours' } },
  spec: {
    restartPolicy: 'Never',
    securityContext: { runAsNonRoot: true, runAsUser: 65532 },
    initContainers: [{ name: 'build', image: 'insitu', args: ['run-build'], env: [{ name: 'HOME', value: '/tmp' }] }],
    containers: [{ name: 'after-1', image: 'scan' }],
    volumes: [{ name: 'tmp', emptyDir: {} }],
  },
}

it('nothing given changes nothing', () => {
  expect(mergePodTemplate(ours, undefined)).toBe(ours)
})

it('maps are merged by key; containers, environment and volumes by name; the rest is theirs', () => {
  const { metadata, spec } = mergePodTemplate(ours, {
    metadata: { labels: { a: 'b' }, annotations: { more: 'x' } },
    spec: {
      nodeSelector: { zone: 'a' },
      securityContext: { fsGroup: 1 },
      tolerations: [{ key: 'x' }],
      volumes: [{ name: 'own', emptyDir: {} }],
      containers: [{ name: 'build', env: [{ name: 'PROXY', value: 'p' }], resources: { limits: { cpu: '1' } } }],
    },
  })
  expect(metadata).toEqual({ labels: { a: 'b' }, annotations: { work: 'ours', more: 'x' } })
  expect(spec).toMatchObject({
    nodeSelector: { zone: 'a' },
    securityContext: { runAsNonRoot: true, runAsUser: 65532, fsGroup: 1 },
    tolerations: [{ key: 'x' }],
    volumes: [{ name: 'tmp' }, { name: 'own' }],
  })
  // Where the template writes the container does not decide when it runs.
  expect(spec?.initContainers).toEqual([
    {
      ...{ name: 'build', image: 'insitu', args: ['run-build'], resources: { limits: { cpu: '1' } } },
      env: [
        { name: 'HOME', value: '/tmp' },
        { name: 'PROXY', value: 'p' },
      ],
    },
  ])
  expect(spec?.containers?.map(({ name }) => name)).toEqual(['after-1'])
})

it('what makes it a build stays: its program, its annotations, and that it runs once', () => {
  const { metadata, spec } = mergePodTemplate(ours, {
    metadata: { annotations: { work: 'theirs' } },
    spec: {
      restartPolicy: 'Always',
      containers: [
        { name: 'build', args: ['other'], command: ['sh'] },
        { name: 'sidecar', image: 's' },
      ],
    },
  })
  expect(metadata?.annotations).toEqual({ work: 'ours' })
  expect(spec?.['restartPolicy']).toBe('Never')
  expect(spec?.initContainers?.[0]).toMatchObject({ args: ['run-build'], command: undefined })
  expect(spec?.containers?.map(({ name }) => name)).toEqual(['after-1', 'sidecar'])
})
