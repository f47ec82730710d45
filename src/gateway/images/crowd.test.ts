import { expect, test } from 'vitest'
import type { PodFacts, WaitingContainer } from '../placement/cluster.ts'
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
