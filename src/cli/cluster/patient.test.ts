import { expect, it } from 'vitest'
import { KubernetesError } from '../../kernel/k8s/failure.ts'
import { patiently } from './patient.ts'

const refusal = (httpStatus: number): KubernetesError => new KubernetesError('X', 'no', { httpStatus, reason: '' })

function attempts(errors: readonly unknown[]) {
  let time = 0
  const left = [...errors]
  const result = patiently(() => (left.length > 0 ? Promise.reject(left.shift() as Error) : Promise.resolve('done')), {
    patience: 3000,
    now: () => time,
    pause: (milliseconds) => Promise.resolve((time += milliseconds)),
  })
  return result
}

it('waits for an API server that restarts or is busy', async () => {
  expect(await attempts([refusal(0), refusal(503), refusal(429)])).toBe('done')
})

it.each([403, 404, 409, 422])('does not repeat what was answered with %d', async (status) => {
  await expect(attempts([refusal(status)])).rejects.toThrow('no')
})

it('gives up when the patience is over', async () => {
  await expect(attempts([0, 0, 0, 0, 0].map(refusal))).rejects.toThrow('no')
})
