import { expect, it } from 'vitest'
import type { Finding } from '../../api/node-report.ts'
import { createNodeState } from './node-state.ts'

it('a node whose part finds something fatal takes no builds, until it is over; its daemon goes on', () => {
  let findings: readonly Finding[] = []
  const state = createNodeState({
    node: 'node1',
    needsFront: false,
    parts: { findings: () => findings, report: () => ({}) },
    send: () => undefined,
  })
  const now = (): unknown[] => [state.current().state, state.current().ready]
  state.enter('ready')
  expect(now()).toEqual(['ready', true])
  findings = [{ code: 'DISK_LIMIT', severity: 'fatal', message: 'full' }]
  state.refresh()
  expect(now()).toEqual(['ready', false])
  expect(state.current().findings).toEqual(findings)
  findings = [{ code: 'DISK_LOW', severity: 'warning', message: 'low' }]
  state.refresh()
  expect(now()).toEqual(['ready', true])
})
