import { expect, test } from 'vitest'
import type { NodeReport } from '../../api/node-report.ts'
import { readAgent, type Agent } from './agent.ts'
import { annotations } from '../../api/names.ts'
import { whyLost } from './lost.ts'

const agent = (state: NodeReport['state'], deletionTimestamp?: string): Agent | undefined => {
  const report = { version: 1, ready: state === 'ready', state, findings: [] }
  const metadata = { uid: 'u1', annotations: { [annotations.nodeReport]: JSON.stringify(report) } }
  return readAgent({
    metadata: { ...metadata, ...(deletionTimestamp === undefined ? {} : { deletionTimestamp }) },
    spec: { nodeName: 'n1' },
    status: { phase: 'Running', podIP: '10.0.0.5' },
  })
}

test('a node that is not ready is lost, whatever its agent reported last', () => {
  expect(whyLost({ ready: false }, agent('ready'))).toBe('the node is not ready')
  expect(whyLost({ ready: false }, undefined)).toBe('the node is not ready')
})

test('so is one whose agent does not answer', () => {
  expect(whyLost({ ready: true }, { ...(agent('ready') as Agent), silent: true })).toBe('its agent does not answer')
})

test('one whose agent is being replaced or restarted is not: it is back in a moment', () => {
  for (const state of ['ready', 'starting', 'restarting', 'draining', 'failed'] as const) {
    expect(whyLost({ ready: true }, agent(state))).toBeUndefined()
  }
  expect(whyLost({ ready: true }, agent('ready', '2026-01-01T00:00:00Z'))).toBeUndefined()
  expect(whyLost({ ready: true }, undefined)).toBeUndefined()
  // Nodes and pods come by watches of their own.
  expect(whyLost(undefined, agent('ready'))).toBeUndefined()
})
