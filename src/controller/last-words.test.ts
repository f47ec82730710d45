import { expect, test } from 'vitest'
import { createLastWords } from './last-words.ts'
import type { PodView } from './view.ts'

const pod: PodView = {
  ...{ name: 'p', uid: 'u', job: 'j', buildUid: 'c', phase: 'Running', deleting: true, endsAt: 1, live: true },
  outcome: { result: 'infrastructure', digest: 'sha256:1', names: ['a/b:1'] },
  ...{ disrupted: undefined, waiting: 'x', failed: undefined, building: true },
  ...{ exits: new Map([['before-1', 0]]), running: ['build'] },
}

test('what a pod said before it was deleted is known for a while, and nothing of it runs any more', () => {
  let now = 0
  const words = createLastWords(() => now)
  words.keep('a/p', pod)
  words.keep('a/silent', { ...pod, name: 'silent', outcome: undefined })
  expect([...words.pods]).toEqual([
    [
      'a/p',
      { ...pod, phase: 'Failed', endsAt: undefined, live: false, building: false, waiting: undefined, running: [] },
    ],
  ])
  words.keep('a/p', { ...pod, phase: 'Succeeded' })
  expect(words.pods.get('a/p')?.phase).toBe('Succeeded')
  now = 300_001
  expect(words.pods.size).toBe(0)
})
