import { describe, expect, it } from 'vitest'
import { fieldOf, integer, string } from '../../kernel/grpc/wire.ts'
import { isStep } from './step-container.ts'

const mounts = (source: string) =>
  JSON.stringify({ mounts: [{ destination: '/proc' }, { destination: '/etc/hosts', source }] })
const step = { id: 'x', labels: {}, image: '', spec: mounts('/var/lib/buildkit/containerd-overlayfs/hosts') }

describe('a container is a step of our buildkitd', () => {
  it('by the files it mounts from the root', () => {
    expect(isStep(step, '/var/lib/buildkit')).toBe(true)
  })
  it.each([
    ['of a pod', { ...step, labels: { 'io.cri-containerd.kind': 'container' } }],
    ['with an image', { ...step, image: 'docker.io/library/busybox:latest' }],
    ['with files from elsewhere', { ...step, spec: mounts('/var/lib/buildkit2/hosts') }],
    ['without mounts', { ...step, spec: '{}' }],
    ['that says nothing readable', { ...step, spec: '' }],
  ])('and not one %s', (_, container) => {
    expect(isStep(container, '/var/lib/buildkit')).toBe(false)
  })
})

it('fields are written as they are read', () => {
  expect(string(fieldOf(3, 'grüße'.repeat(40)), 3)).toBe('grüße'.repeat(40))
  expect(integer(fieldOf(20, 300_000), 20)).toBe(300_000)
})
