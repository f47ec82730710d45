import { expect, test } from 'vitest'
import { InsituError } from '../../kernel/errors.ts'
import { planSplit } from './plan.ts'

const natives: Readonly<Record<string, readonly string[]>> = {
  amd: ['linux/amd64', 'linux/386'],
  arm: ['linux/arm64', 'linux/arm/v7'],
}
const emulated: Readonly<Record<string, readonly string[]>> = { amd: ['linux/arm64', 'linux/riscv64'], arm: [] }

const plan = (platforms: readonly string[], nativeOnly = false, nodes = Object.keys(natives)) =>
  planSplit(platforms, nativeOnly, async (wanted, native, only) => {
    const able = (node: string) => [...(natives[node] ?? []), ...(native ? [] : (emulated[node] ?? []))]
    const node = nodes.find(
      (name) => (only ?? name) === name && wanted.every((platform) => able(name).includes(platform)),
    )
    if (node === undefined) throw new InsituError('NO_NODE', `nobody builds ${wanted.join()}`)
    return { rule: 'anywhere', node, targets: [node], reason: '' }
  })

test.each([
  [
    ['linux/amd64', 'linux/arm64'],
    [
      ['amd', 'linux/amd64'],
      ['arm', 'linux/arm64'],
    ],
  ],
  [
    ['linux/arm64', 'linux/386', 'linux/amd64'],
    [
      ['arm', 'linux/arm64'],
      ['amd', 'linux/386 linux/amd64'],
    ],
  ],
  [
    ['linux/riscv64', 'linux/arm64', 'linux/amd64'],
    [
      ['arm', 'linux/arm64'],
      ['amd', 'linux/amd64 linux/riscv64'],
    ],
  ],
])('%j is split', async (platforms, expected) => {
  const made = await plan(platforms)
  const parts = made.kind === 'split' ? made.parts : []
  expect(parts.map((part) => [part.placement.node, part.platforms.join(' ')])).toEqual(expected)
})

test('what one node runs natively, or nobody does, is built whole', async () => {
  expect(await plan(['linux/amd64', 'linux/386'])).toEqual({ kind: 'whole' })
  expect(await plan(['linux/amd64', 'linux/riscv64'])).toEqual({ kind: 'whole' })
  expect(await plan(['linux/amd64', 'linux/arm64'], false, ['amd'])).toEqual({ kind: 'whole' })
})

test('what nobody can build is an error, and what must not be emulated too', async () => {
  await expect(plan(['linux/amd64', 'linux/arm64', 'linux/s390x'])).rejects.toThrow('nobody builds linux/s390x')
  await expect(plan(['linux/amd64', 'linux/arm64', 'linux/riscv64'], true)).rejects.toThrow(
    'nobody builds linux/riscv64',
  )
})
