import { expect, test } from 'vitest'
import { InsituError } from '../../kernel/errors.ts'
import { createFixedDirectory } from '../directory/fixed.ts'
import { placeAllowed } from './allowed-node.ts'

const directory = createFixedDirectory(['a', 'b', 'c'].map((name) => ({ name, address: { path: `/${name}` } })))
const placed = (only: readonly string[], full: readonly string[] = [], unable: readonly string[] = []) =>
  placeAllowed(
    { allows: (node) => only.includes(node), full: (node) => full.includes(node), directory, cacheKey: 'k' },
    undefined,
    (node = 'a') => {
      if (unable.includes(node)) return Promise.reject(new InsituError('NODE_CANNOT_BUILD', 'no'))
      return Promise.resolve({ rule: 'anywhere', node, targets: [node], reason: 'any' })
    },
  ).then(({ node }) => node)

test('the node that placement wants if it is allowed, else one that is allowed and can build', async () => {
  expect(await placed(['a', 'b'])).toBe('a')
  const warm = await placed(['b', 'c'])
  expect(['b', 'c']).toContain(warm)
  expect(await placed(['b', 'c'], [], [warm])).toBe(warm === 'b' ? 'c' : 'b')
  expect(await placed([])).toBe('a')
})

test('an allowed node with room before one where it would have to wait for its turn', async () => {
  const warm = await placed(['b', 'c'])
  expect(await placed(['b', 'c'], [warm])).toBe(warm === 'b' ? 'c' : 'b')
  expect(await placed(['b', 'c'], ['b', 'c'])).toBe(warm)
})
