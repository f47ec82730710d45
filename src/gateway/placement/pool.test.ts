import { expect, test } from 'vitest'
import { sketch } from '../../../test/unit/placement/sketch.ts'
import type { NodeFacts } from './cluster.ts'
import { poolOf, rememberPools } from './pool.ts'

const names = (pool: { candidates: readonly { node: string }[] }) => pool.candidates.map((c) => c.node)

test('a pool holds who can build, and why the others cannot', () => {
  const pool = poolOf(sketch({ nodes: { n1: {}, n2: { unschedulable: true }, n3: { agent: null } } }), ['linux/amd64'])
  expect(names(pool)).toEqual(['n1'])
  expect(pool.candidates[0]?.native).toBe(1)
  expect(pool.rejected.map((r) => `${r.node} ${r.reason}`)).toEqual(['n2 cordoned', 'n3 no agent'])
})

test('pools are remembered for each list of platforms until something changes', () => {
  const view = sketch({ nodes: { n1: {}, n2: {} } })
  let generation = 1
  const pools = rememberPools(view, () => generation)
  const before = pools([])
  const nodes = view.nodes as Map<string, NodeFacts>
  nodes.set('n1', { ...(nodes.get('n1') as NodeFacts), unschedulable: true })
  expect(pools([])).toBe(before)
  expect(names(pools(['linux/amd64']))).toEqual(['n2'])
  generation += 1
  expect(names(pools([]))).toEqual(['n2'])
})

test('many lists of platforms do not pile up', () => {
  const pools = rememberPools(sketch({ nodes: { n1: {} } }), () => 1)
  const first = pools([])
  for (let i = 0; i < 100; i++) pools([`linux/x${i}`])
  expect(pools([])).not.toBe(first)
})
