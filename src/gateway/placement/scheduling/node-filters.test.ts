import { expect, test } from 'vitest'
import type { NodeFacts } from '../cluster.ts'
import type { NodeDemand } from './demand.ts'
import { refusedByNode } from './node-filters.ts'
import type { Requirement } from './selector.ts'
import { sketch } from '../../../../test/unit/placement/sketch.ts'

const node = (facts: Partial<NodeFacts>): NodeFacts => sketch({ nodes: { n1: facts } }).nodes.get('n1') as NodeFacts
const nothing: NodeDemand = { nodeName: undefined, nodeSelector: {}, terms: undefined, tolerations: [] }
const refuses = (facts: Partial<NodeFacts>, demand: Partial<NodeDemand>) =>
  refusedByNode(node(facts), { ...nothing, ...demand })

test('a plain node takes a plain pod', () => {
  expect(refuses({}, {})).toBeUndefined()
})

test('a cordoned node takes only who tolerates that', () => {
  expect(refuses({ unschedulable: true }, {})).toBe('cordoned')
  const tolerations = [{ key: 'node.kubernetes.io/unschedulable', operator: 'Exists' }]
  expect(refuses({ unschedulable: true }, { tolerations })).toBeUndefined()
})

test('selectors', () => {
  expect(refuses({ labels: { disk: 'ssd' } }, { nodeSelector: { disk: 'ssd' } })).toBeUndefined()
  expect(refuses({ labels: { disk: 'hdd' } }, { nodeSelector: { disk: 'ssd' } })).toContain('node selector')
  expect(refuses({}, { nodeSelector: { disk: 'ssd' } })).toContain('node selector')
})

const expression = (key: string, operator: string, ...values: string[]): Requirement => ({ key, operator, values })
test.each([
  [expression('zone', 'In', 'a', 'b'), true],
  [expression('zone', 'In', 'c'), false],
  [expression('zone', 'NotIn', 'c'), true],
  [expression('other', 'NotIn', 'c'), true],
  [expression('zone', 'NotIn', 'a'), false],
  [expression('zone', 'Exists'), true],
  [expression('other', 'Exists'), false],
  [expression('other', 'DoesNotExist'), true],
  [expression('zone', 'DoesNotExist'), false],
  [expression('cores', 'Gt', '7'), true],
  [expression('cores', 'Gt', '8'), false],
  [expression('cores', 'Lt', '9'), true],
  [expression('zone', 'Gt', '1'), false],
  [expression('cores', 'Nonsense', '1'), false],
])('affinity %j: %s', (requirement, expected) => {
  const terms = [{ matchExpressions: [requirement] }]
  expect(refuses({ labels: { zone: 'a', cores: '8' } }, { terms }) === undefined).toBe(expected)
})

test('terms are alternatives, requirements of one term are not', () => {
  const a = expression('zone', 'In', 'a')
  const b = expression('zone', 'In', 'b')
  const labels = { zone: 'b' }
  expect(refuses({ labels }, { terms: [{ matchExpressions: [a] }, { matchExpressions: [b] }] })).toBeUndefined()
  expect(refuses({ labels }, { terms: [{ matchExpressions: [a, b] }] })).toContain('affinity')
  expect(refuses({ labels }, { terms: [{}] })).toContain('affinity')
  expect(refuses({ labels }, { terms: [] })).toContain('affinity')
  expect(refuses({ labels }, { terms: [{ matchFields: [expression('metadata.name', 'In', 'n1')] }] })).toBeUndefined()
  expect(refuses({ labels }, { terms: [{ matchFields: [expression('metadata.name', 'In', 'n2')] }] })).toContain(
    'affinity',
  )
})

test.each([
  [{ key: 'gpu', operator: 'Exists' }, true],
  [{ operator: 'Exists' }, true],
  [{ key: 'gpu', value: 'a100' }, true],
  [{ key: 'gpu', operator: 'Equal', value: 'a100', effect: 'NoSchedule' }, true],
  [{ key: 'gpu', operator: 'Equal', value: 'h100' }, false],
  [{ key: 'gpu', operator: 'Exists', effect: 'NoExecute' }, false],
  [{ key: 'cpu', operator: 'Exists' }, false],
])('toleration %j: %s', (toleration, expected) => {
  const taints = [{ key: 'gpu', value: 'a100', effect: 'NoSchedule' }]
  expect(refuses({ taints }, { tolerations: [toleration] }) === undefined).toBe(expected)
})

test('only taints that keep pods away count', () => {
  expect(refuses({ taints: [{ key: 'x', value: '', effect: 'PreferNoSchedule' }] }, {})).toBeUndefined()
  expect(refuses({ taints: [{ key: 'x', value: 'y', effect: 'NoExecute' }] }, {})).toBe('untolerated taint x=y')
})
