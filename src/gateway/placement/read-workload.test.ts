import { expect, test } from 'vitest'
import type { NodeFacts } from './cluster.ts'
import { createImageNames } from './image-names.ts'
import { readWorkload, type RawWorkload } from './read-workload.ts'
import { refusedByNode } from './scheduling/node-filters.ts'
import { sketch } from '../../../test/unit/placement/sketch.ts'

const names = createImageNames()
const template = { spec: { containers: [{ name: 'app', image: 'team/web' }] } }
const read = (kind: string, object: RawWorkload) =>
  readWorkload(kind, { ...object, spec: { template, ...object.spec } }, names)

// AddOrUpdateDaemonPodTolerations in Kubernetes' pkg/controller/daemon/util.
test.each([
  ['not-ready', 'NoExecute', true],
  ['not-ready', 'NoSchedule', false],
  ['unreachable', 'NoExecute', true],
  ['unreachable', 'NoSchedule', false],
  ['disk-pressure', 'NoSchedule', true],
  ['disk-pressure', 'NoExecute', false],
  ['memory-pressure', 'NoSchedule', true],
  ['pid-pressure', 'NoSchedule', true],
  ['unschedulable', 'NoSchedule', true],
  ['network-unavailable', 'NoSchedule', false],
])("a DaemonSet's pods and the taint %s:%s", (name, effect, expected) => {
  const node = sketch({ nodes: { n1: { taints: [{ key: `node.kubernetes.io/${name}`, value: '', effect }] } } })
  const takes = (spec: object) => {
    const demand = read('DaemonSet', { spec: { template: { spec: { ...template.spec, ...spec } } } })?.demand
    return demand && refusedByNode(node.nodes.get('n1') as NodeFacts, demand.node) === undefined
  }
  expect(takes({})).toBe(expected)
  expect(takes({ hostNetwork: true })).toBe(expected || name === 'network-unavailable')
})

test.each([
  [{ completionTime: '2026-01-01T00:00:00Z' }, true],
  [{ conditions: [{ type: 'Complete', status: 'True' }] }, true],
  [
    {
      conditions: [
        { type: 'FailureTarget', status: 'True' },
        { type: 'Failed', status: 'True' },
      ],
    },
    true,
  ],
  [{ conditions: [{ type: 'Failed', status: 'False' }] }, false],
  [{ conditions: [{ type: 'Suspended', status: 'True' }] }, false],
  [{}, false],
])('a Job with the status %j is over: %s', (status, over) => {
  expect(read('Job', { status }) === undefined).toBe(over)
})
