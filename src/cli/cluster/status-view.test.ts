import { expect, it } from 'vitest'
import type { Installation, RolePod } from './installation.ts'
import { statusDocument, statusText } from './status-view.ts'

const pod = (name: string, problem?: string): RolePod => ({
  ...{ name, node: 'n1', rootless: false, ready: problem === undefined, restarts: 0, report: undefined },
  problem: problem === undefined ? undefined : { text: problem, stuck: true, fix: `mend ${name}` },
})
const two = {
  metadata: { generation: 1 },
  spec: { replicas: 2 },
  status: { observedGeneration: 1, availableReplicas: 2, updatedReplicas: 2 },
}

it('says what helps against a class of priority that the namespace may not use', () => {
  const refused =
    'Error creating: pods "insitu-agent-" is forbidden: insufficient quota to match these scopes: [{PriorityClass In [system-node-critical system-cluster-critical]}]'
  const installation: Installation = {
    ...{ namespace: 'n', deployment: two, rootless: undefined, service: undefined, builder: two },
    daemonSet: { metadata: { generation: 1 }, status: { observedGeneration: 1, desiredNumberScheduled: 1 } },
    ...{ gateways: [pod('g1'), pod('g2')], agents: [], controllers: [pod('c1')], warnings: [refused] },
  }
  expect(statusText(installation)).toMatch(/scopes: .*\n {2}fix: .*ResourceQuota.*--agent-priority-class/)
  expect(statusText({ ...installation, warnings: ['quota exceeded'] })).not.toContain('fix:')
})

it('shows the controllers of Builds, and what is wrong with them', () => {
  const installation: Installation = {
    ...{ namespace: 'n', deployment: two, rootless: undefined, service: undefined, warnings: [] },
    builder: { ...two, status: { ...two.status, availableReplicas: 1 } },
    daemonSet: {
      metadata: { generation: 1 },
      status: { observedGeneration: 1, desiredNumberScheduled: 1, updatedNumberScheduled: 1, numberReady: 1 },
    },
    ...{ gateways: [pod('g1'), pod('g2')], agents: [pod('a1')], controllers: [pod('c1'), pod('c2', 'crashes')] },
  }
  const text = statusText(installation)
  expect(text).toContain('gateways 2/2, agents 1/1, controllers 1/2 ready')
  expect(text).toMatch(/^controller +n1 +ready +0$/m)
  expect(text).toMatch(/^controller +n1 +NOT READY +0$/m)
  expect(text).toContain('c2: crashes\n  fix: mend c2')
  expect(statusDocument(installation)).toMatchObject({ ready: false, controllers: [{ name: 'c1' }, { name: 'c2' }] })
})
