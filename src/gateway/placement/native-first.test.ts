import { expect, test } from 'vitest'
import { InsituError } from '../../kernel/errors.ts'
import { ask, sketch, type Sketch } from '../../../test/unit/placement/sketch.ts'
import { nativeFirst } from './native-first.ts'
import { place } from './place.ts'
import type { PlacementRequest } from './placer.ts'

const both = ['linux/amd64', 'linux/arm64']
/** Everybody emulates everything; n3 is emulated itself, by a kernel that runs the other platform natively. */
const cluster: Sketch = {
  nodes: {
    n1: { agent: { platforms: both } },
    n2: { agent: { platforms: both } },
    n3: { platform: 'linux/arm64', agent: { platforms: both.toReversed(), native: both.toReversed() } },
  },
}

const decide = (request: Partial<PlacementRequest>, of: Sketch = cluster) => {
  const view = sketch(of)
  const input = ask(view, request)
  return nativeFirst(input.request, view, (asked) => place(ask(view, asked)).placement)
}

test('a build goes where its platform is native', () => {
  expect(decide({ platforms: ['linux/arm64'] }).node).toBe('n3')
  expect(decide({ platforms: ['linux/arm64/v8'] }).node).toBe('n3')
  expect(decide({ platforms: ['linux/amd64'] }).node).not.toBe('n3')
})

test('without such a node it is emulated, and the reason says so', () => {
  const { reason, node } = decide({ platforms: ['linux/arm64'] }, { nodes: { n1: { agent: { platforms: both } } } })
  expect(node).toBe('n1')
  expect(reason).toContain('linux/arm64 is emulated')
  expect(decide({ platforms: ['linux/arm64'], node: 'n2' })).toMatchObject({
    node: 'n2',
    reason: 'asked for by insitu.node; linux/arm64 is emulated',
  })
})

test('a pod that waits on another architecture does not make it emulated: its node is a target', () => {
  const image = 'docker.io/team/web:v2'
  const waiting = [{ image, reason: 'ErrImageNeverPull', pullPolicy: 'Never' }]
  const placed = decide(
    { images: [image], platforms: ['linux/arm64'] },
    { ...cluster, pods: [{ node: 'n1', waiting }] },
  )
  expect(placed).toMatchObject({ node: 'n3', targets: ['n1'] })
  expect(placed.reason).not.toContain('is emulated')
})

test('emulation that must not be is an error with what the cluster has', () => {
  const refused = (): unknown => decide({ platforms: ['linux/riscv64'], nativeOnly: true })
  expect(refused).toThrow(InsituError)
  expect(refused).toThrow(
    'linux/riscv64 should not be emulated, and the cluster has 2 nodes of linux/amd64, 1 of linux/arm64',
  )
  expect(() => decide({ platforms: ['linux/arm64'], nativeOnly: true, node: 'n1' })).toThrow('should not be emulated')
})
