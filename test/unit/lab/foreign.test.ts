import { expect, it } from 'vitest'
import { foreignPolicy } from '../../lab/foreign.ts'

it('the API server says the other architecture for the nodes that are foreign, and for no other', () => {
  const [policy] = foreignPolicy(['node3']) as [{ spec: { matchConditions: { expression: string }[] } }]
  expect(policy.spec.matchConditions.map((c) => c.expression)).toEqual(['object.metadata.name in ["node3"]'])
  expect(JSON.stringify(foreignPolicy([]))).toContain('object.metadata.name in []')
})
