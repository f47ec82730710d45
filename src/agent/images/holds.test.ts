import { afterEach, beforeEach, expect, test } from 'vitest'
import { type FakeLeases, fakeLeases } from '../../../test/unit/fake-leases.ts'
import { createHolds, holdLease } from './holds.ts'

let containerd: FakeLeases
beforeEach(async () => (containerd = await fakeLeases()))
afterEach(() => containerd.close())

const inLease = (lease = holdLease): string[] => [...(containerd.leases.get(lease) ?? [])].toSorted()

test('layers that arrive at once after a clean stop are kept: the lease is made once, by any of them', async () => {
  containerd.write = 20
  const holds = createHolds(containerd.socket, 'k8s.io', () => Promise.resolve([]))
  const layers = ['sha256:a', 'sha256:b', 'sha256:c']
  await Promise.all(layers.map((layer) => holds.arriving(layer)))
  expect(inLease()).toEqual(layers)
})
