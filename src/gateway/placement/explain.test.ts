import { expect, test } from 'vitest'
import { InsituError } from '../../kernel/errors.ts'
import { ask, sketch } from '../../../test/unit/placement/sketch.ts'
import { explain } from './explain.ts'
import { place } from './place.ts'

const image = 'docker.io/team/web:v2'

test('every node has a verdict, the builder first', () => {
  const waiting = [{ image, reason: 'ErrImageNeverPull', pullPolicy: 'Never' }]
  const view = sketch({
    nodes: { n1: { unschedulable: true }, n2: {}, n3: {}, n4: { agent: null }, n5: {} },
    pods: [
      { name: 'a', node: 'n3', created: 1, waiting },
      { name: 'b', node: 'n4', created: 2, waiting },
    ],
  })
  const input = ask(view, { images: [image] })
  const explanation = explain(view, input.request, place(input))
  expect(explanation.placement?.rule).toBe('waiting')
  expect(explanation.nodes.map(({ node, verdict, reason }) => [node, verdict, reason])).toEqual([
    ['n3', 'builds', undefined],
    ['n4', 'runs', 'no agent'],
    ['n2', 'fit', undefined],
    ['n5', 'fit', undefined],
    ['n1', 'rejected', 'cordoned'],
  ])
})

test('a refusal is explained node by node', () => {
  const view = sketch({
    nodes: { n1: { agent: { ready: false, trouble: 'is starting' } }, n2: { pressure: ['DiskPressure'] } },
  })
  const { request } = ask(view, { images: [image] })
  const refusal = new InsituError('NO_NODE', '0/2 nodes can build', { fix: 'look' })
  expect(explain(view, request, refusal)).toEqual({
    request,
    placement: undefined,
    refusal: { code: 'NO_NODE', message: '0/2 nodes can build', fix: 'look' },
    nodes: [
      { node: 'n1', verdict: 'rejected', reason: 'agent not ready: is starting', score: undefined },
      { node: 'n2', verdict: 'rejected', reason: 'DiskPressure: the kubelet is making room there', score: undefined },
    ],
  })
})

test('scores are shown where there was a choice', () => {
  const view = sketch({ nodes: { n1: {}, n2: {} }, running: { n1: 2 } })
  const input = ask(view, { images: [], platforms: ['linux/amd64'] })
  const { nodes } = explain(view, input.request, place(input))
  expect(nodes.find((n) => n.node === 'n1')?.score).toMatchObject({ native: 1, running: 2 })
  expect(nodes.find((n) => n.node === 'n2')?.score).toMatchObject({ native: 1, running: 0 })
})
