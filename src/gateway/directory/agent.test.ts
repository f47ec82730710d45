import { expect, test } from 'vitest'
import { annotations } from '../../api/names.ts'
import type { NodeReport } from '../../api/node-report.ts'
import { readAgent, type RawAgentPod } from './agent.ts'

const report: NodeReport = {
  version: 1,
  node: 'n1',
  ready: true,
  state: 'ready',
  platforms: ['linux/amd64'],
  buildkit: 'v0.33.1',
  containerd: 'v2.4.2',
  snapshotter: 'overlayfs',
  distribution: 'kubeadm',
  network: 'bridge',
  findings: [],
}
const pod = (text: string | undefined, more: RawAgentPod = {}): RawAgentPod => ({
  metadata: {
    name: 'insitu-agent-x',
    uid: 'u1',
    ...(text === undefined ? {} : { annotations: { [annotations.nodeReport]: text } }),
    ...more.metadata,
  },
  spec: { nodeName: 'n1', ...more.spec },
  status: { phase: 'Running', podIP: '10.0.0.5', ...more.status },
})
const read = (value: object, more?: RawAgentPod) => readAgent(pod(JSON.stringify(value), more))

test('a ready agent', () => {
  expect(read(report)).toMatchObject({ node: 'n1', ready: true, trouble: undefined, ip: '10.0.0.5', report })
})

test('the pod’s node counts, not the one the report names', () => {
  expect(read({ ...report, node: 'another' })).toMatchObject({ node: 'n1', report: { node: 'n1' } })
})

const fatal = { code: 'X', severity: 'fatal', message: 'is wrong' }
test.each([
  ['has not reported yet', pod(undefined)],
  ['wrote a report that this gateway cannot read', pod('{')],
  ['wrote a report that this gateway cannot read', pod('null')],
  ['wrote a report that this gateway cannot read', pod(JSON.stringify({ ...report, version: 2 }))],
  ['wrote a report that this gateway cannot read', pod(JSON.stringify({ ...report, state: 'dancing' }))],
  ['is starting', pod(JSON.stringify({ ...report, ready: false, state: 'starting' }))],
  ['reports X: is wrong', pod(JSON.stringify({ ...report, ready: false, state: 'failed', findings: [fatal] }))],
])('trouble: %s', (trouble, raw) => {
  expect(readAgent(raw)).toMatchObject({ ready: false, trouble })
})

test('a pod that is being deleted drains, whatever it said last', () => {
  const agent = read(report, { metadata: { deletionTimestamp: '2026-01-01T00:00:00Z' } })
  expect(agent).toMatchObject({ ready: false, draining: true, report: { ready: false, state: 'draining' } })
})

test('no address, no build', () => {
  const { status: _, ...rest } = pod(JSON.stringify(report))
  expect(readAgent(rest)).toMatchObject({ ready: false, trouble: 'has no address yet' })
})

test('pods without a node and pods that are over are no agents', () => {
  expect(readAgent({ metadata: { name: 'x' } })).toBeUndefined()
  expect(readAgent(pod(JSON.stringify(report), { status: { phase: 'Failed' } }))).toBeUndefined()
})

test('odd parts of a report are left out', () => {
  expect(
    read({ ...report, platforms: ['linux/amd64', 7], findings: [fatal, 'x', { code: 1 }], network: 'odd' }),
  ).toMatchObject({
    report: { platforms: ['linux/amd64'], findings: [fatal], network: 'bridge' },
  })
})
