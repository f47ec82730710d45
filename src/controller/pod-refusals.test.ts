import { expect, it } from 'vitest'
import type { KubernetesClient } from '../kernel/k8s/client.ts'
import { KubernetesError } from '../kernel/k8s/failure.ts'
import { createPodRefusals } from './pod-refusals.ts'

const build = { metadata: { namespace: 'a', name: 'b' }, spec: {} }

it('a Job is asked about once in ten seconds, and what we may not read is no answer', async () => {
  let clock = 0
  const asked: (string | undefined)[] = []
  const list: KubernetesClient['list'] = (_, { fieldSelector } = {}) => {
    asked.push(fieldSelector)
    const forbidden = new KubernetesError('K8S_FORBIDDEN', 'no', { httpStatus: 403, reason: 'Forbidden' })
    return fieldSelector?.includes('other') === true ? Promise.reject(forbidden) : Promise.resolve([])
  }
  const refusalsOf = createPodRefusals({ list }, () => clock)
  expect(await refusalsOf(build, 'job')).toEqual([])
  expect(await refusalsOf(build, 'other')).toEqual([])
  clock = 9999
  expect(await refusalsOf(build, 'job')).toBeUndefined()
  clock = 10_000
  expect(await refusalsOf(build, 'job')).toEqual([])
  const selector = 'involvedObject.kind=Job,involvedObject.name=job,reason=FailedCreate'
  expect(asked).toEqual([selector, selector.replace('=job', '=other'), selector])
})
