import { expect, it } from 'vitest'
import { waitingFor } from './clean-nodes.ts'
import type { Pod } from './objects.ts'

const blocked = (node: string): Pod => ({
  metadata: { name: `clean-${node}`, uid: node },
  spec: { nodeName: node },
  status: { phase: 'Pending', containerStatuses: [{ state: { waiting: { reason: 'ImagePullBackOff' } } }] },
})
const failed = (uid: string, message: string) => ({
  type: 'Warning',
  reason: 'Failed',
  message,
  involvedObject: { uid },
})

it('says what nodes that are cleaned wait for, each with its own events', () => {
  const running: Pod = {
    ...{ metadata: { name: 'clean-c', uid: 'c' }, spec: { nodeName: 'c' } },
    status: { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] },
  }
  const events = [failed('b', 'no route to host'), failed('a', 'not found')]
  expect(waitingFor([blocked('a'), blocked('b'), running], events)).toBe(
    '  a: cannot get its image: not found\n  b: cannot get its image: no route to host',
  )
  expect(waitingFor([running], events)).toBe('')
})

it('does not name every node of a large cluster', () => {
  const lines = waitingFor(['a', 'b', 'c', 'd', 'e'].map(blocked), []).split('\n')
  expect(lines).toHaveLength(4)
  expect(lines.at(-1)).toBe('  and 2 more')
})
