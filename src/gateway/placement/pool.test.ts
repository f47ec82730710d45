import { expect, test } from 'vitest'
import { sketch } from '../../../test/unit/placement/sketch.ts'
import type { AgentFacts, NodeFacts } from './cluster.ts'
import type { Model } from './model/model.ts'
import { rememberPools, type Pool } from './pool.ts'

const slots = ({ table }: Model) => table.slots.filter((slot) => slot !== undefined)
const welcome = (model: Model, pool: Pool) =>
  slots(model)
    .filter((slot) => pool.welcomes(slot))
    .map((slot) => slot.name)

test('a pool holds who can build, and who would rather not', () => {
  const model = sketch({ nodes: { n1: {}, n2: { unschedulable: true }, n3: { agent: null } } })
  const pool = rememberPools(model)(['linux/amd64'])
  expect(welcome(model, pool)).toEqual(['n1'])
  expect(slots(model).filter((slot) => pool.can(slot))).toHaveLength(2)
  expect(slots(model).map((slot) => pool.native(slot))).toEqual([1, 1, 1])
  expect(pool.size).toBe(1)
})

test('changes of nodes and agents are noticed, for every list of platforms', () => {
  const model = sketch({ nodes: { n1: {}, n2: {} } })
  const pools = rememberPools(model)
  expect(welcome(model, pools([]))).toEqual(['n1', 'n2'])
  model.setNode({ ...(model.nodes.get('n1') as NodeFacts), unschedulable: true })
  expect(welcome(model, pools([]))).toEqual(['n2'])
  expect(welcome(model, pools(['linux/amd64']))).toEqual(['n2'])
  const agents = model.agents as Map<string, AgentFacts>
  agents.set('n2', { ...(agents.get('n2') as AgentFacts), draining: true })
  model.table.touch('n2')
  expect(pools([]).size).toBe(0)
  model.setNode({ ...(model.nodes.get('n1') as NodeFacts), unschedulable: false })
  model.removeNode('n2')
  expect(welcome(model, pools(['linux/amd64']))).toEqual(['n1'])
})

test('nodes that come and go reuse their places', () => {
  const model = sketch({ nodes: { n1: {} } })
  const pools = rememberPools(model)
  const facts = model.nodes.get('n1') as NodeFacts
  const agent = model.agents.get('n1') as AgentFacts
  for (let i = 0; i < 10_000; i++) {
    ;(model.agents as Map<string, AgentFacts>).set(`x${i}`, { ...agent, node: `x${i}` })
    model.setNode({ ...facts, name: `x${i}` })
    if (i % 100 === 0) pools([])
    model.removeNode(`x${i}`)
  }
  expect(welcome(model, pools([]))).toEqual(['n1'])
  expect(model.table.slots.length).toBeLessThan(5)
})
