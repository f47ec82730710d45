import { expect, test } from 'vitest'
import { sketch } from '../../../test/unit/placement/sketch.ts'
import type { PodFacts, WaitingContainer } from '../placement/cluster.ts'
import { createImageNames } from '../placement/image-names.ts'
import { type RawPod, readPod } from '../placement/read-pod.ts'
import { othersWait } from './crowd.ts'

const waits = (image: string, pullPolicy = 'IfNotPresent'): WaitingContainer => ({
  ...{ image, pullPolicy, reason: 'ContainerCreating' },
})
const pod = (node: string, ...waiting: WaitingContainer[]) => ({ node, waiting }) as unknown as PodFacts

function crowded(...pods: readonly PodFacts[]): boolean {
  const images = new Set(pods.flatMap(({ waiting }) => waiting.map(({ image }) => image)))
  const waitingFor = (image: string) => new Set(pods.filter((one) => one.waiting.some((w) => w.image === image)))
  return othersWait({ waitingImages: () => images, waitingFor }, 'here', 'app')
}

test.each([
  ['nobody', [], false],
  ['a pod of another node', [pod('there', waits('db'))], false],
  ['a pod that waits for another image', [pod('here', waits('db'))], true],
  ['… among those that wait for this one', [pod('here', waits('app')), pod('here', waits('db'))], true],
  ['pods that wait for this one', [pod('here', waits('app')), pod('here', waits('app'))], false],
  ['a pod that waits for this one and has a second container', [pod('here', waits('app'), waits('db'))], false],
  ['a pod whose image is never pulled', [pod('here', waits('db', 'Never'))], false],
])('others that wait behind a pull: %s', (_, pods, expected) => {
  expect(crowded(...pods)).toBe(expected)
})

type Status = NonNullable<NonNullable<RawPod['status']>['containerStatuses']>[number]
type State = NonNullable<Status['state']>
const waiting = (reason: string): State => ({ waiting: { reason } })
const running: State = { running: {} }
const initializing = waiting('PodInitializing')
const ended = (exitCode: number): State => ({ terminated: { exitCode } })

/** Whether a pod with these containers stands behind a pull, by its status as its kubelet writes it. */
function stands(init: readonly State[], own: readonly State[], change: Partial<RawPod['spec']> = {}): boolean {
  const model = sketch({ nodes: { here: {} } })
  const of = (kind: string, states: readonly State[]) => ({
    specs: states.map((_, i) => ({ name: `${kind}-${i}`, image: `team/${kind}-${i}` })),
    statuses: states.map((state, i) => ({ name: `${kind}-${i}`, state })),
  })
  const [inits, owns] = [of('init', init), of('own', own)]
  const spec = { nodeName: 'here', initContainers: inits.specs, containers: owns.specs, ...change }
  const status = { phase: 'Pending', initContainerStatuses: inits.statuses, containerStatuses: owns.statuses }
  const facts = readPod({ metadata: { name: 'other' }, spec, status }, createImageNames(), model)
  model.updatePod(facts, undefined)
  return othersWait(model, 'here', 'docker.io/team/app:latest')
}

test.each([
  ['its init container is pulled', [initializing, initializing], [initializing], true],
  // A Job of a Build with steps after it.
  ['its init container runs', [running], [initializing], false],
  ['one has ended, the next one is pulled', [ended(0), initializing], [initializing], true],
  ['one has ended, the next one runs', [ended(0), running], [initializing], false],
  ['an init container has failed', [ended(1)], [initializing], false],
  ['all have ended', [ended(0), ended(0)], [initializing], true],
  ['it has been created just now', [], [waiting('ContainerCreating')], true],
  ['a pull of it has failed just now', [], [waiting('ErrImagePull')], true],
  ['it is in back-off', [], [waiting('ImagePullBackOff')], false],
  ['it is in back-off for one, and pulls for the next', [], [waiting('ImagePullBackOff'), initializing], true],
])('a pod stands in the line of pulls: %s', (_, init, own, expected) => expect(stands(init, own)).toBe(expected))

test('containers that are there for as long as the pod hold up nothing behind them', () => {
  const sidecars = [{ name: 'init-0', image: 'team/proxy', restartPolicy: 'Always' }]
  expect(stands([running], [initializing], { initContainers: sidecars })).toBe(true)
  expect(stands([waiting('CrashLoopBackOff')], [initializing], { initContainers: sidecars })).toBe(false)
  // No status: its kubelet has not seen it.
  const debug = [{ name: 'debug', image: 'team/debug' }]
  expect(stands([running], [initializing], { ephemeralContainers: debug })).toBe(true)
})
