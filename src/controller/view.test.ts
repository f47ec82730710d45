import { expect, it } from 'vitest'
import { buildUidLabel } from '../api/builds/work.ts'
import { readPod } from './view.ts'

it('of a pod it is known which containers have ended, and which go on that nobody ends', () => {
  const running = { running: {} }
  const ended = (exitCode: number) => ({ terminated: { exitCode } })
  const status = {
    phase: 'Running',
    initContainerStatuses: [
      { name: 'before-1', state: ended(0) },
      // A sidecar: kubelets end it after the others.
      { name: 'insitu-workspace', state: running },
      { name: 'native', state: running },
    ],
    containerStatuses: [
      { name: 'build', state: ended(1) },
      { name: 'istio-proxy', state: running },
    ],
  }
  const pod = readPod({ metadata: { name: 'p', labels: { [buildUidLabel]: 'u' } }, status })
  expect(pod?.exits).toEqual(
    new Map([
      ['before-1', 0],
      ['build', 1],
    ]),
  )
  expect(pod?.running).toEqual(['istio-proxy'])
})
