import { expect, it } from 'vitest'
import { isBuildkitLease } from './leases.ts'

it.each([
  ['a cache record', { id: '2f1bwvienhdvx5ih02akpy3q5', labels: { 'containerd.io/gc.flat': 'x' } }, true],
  ['a call that was cut off', { id: 'any', labels: { 'buildkit/lease.temporary': 'x' } }, true],
  ['other compressions', { id: '2f1bwvienhdvx5ih02akpy3q5-variants', labels: {} }, true],
  ['a pull of the kubelet', { id: '1763690000-k8s', labels: { 'containerd.io/gc.expire': 'x' } }, false],
  ['somebody’s own', { id: 'my-variants', labels: {} }, false],
])('%s', (_, lease, expected) => expect(isBuildkitLease(lease)).toBe(expected))
