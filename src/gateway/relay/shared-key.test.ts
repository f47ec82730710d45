import { expect, test } from 'vitest'
import type { Caller } from '../listener/caller.ts'
import { header } from './headers.ts'
import { withOwnSharedKey } from './shared-key.ts'

const key = 'x-docker-expose-session-sharedkey'
const account = (serviceAccount: string): Caller => ({ kind: 'service-account', namespace: 'team', serviceAccount })
const keyOf = (caller: Caller, ...fields: string[]): string | undefined =>
  header(withOwnSharedKey([':path', '/x', ...fields], caller), key)

test('a session’s shared key is one of its caller and of what its client said, however often that says it', () => {
  const mine = keyOf(account('a'), key, '')
  expect(mine).toMatch(/^[0-9a-f]{64}$/)
  expect(keyOf(account('a'), key, '')).toBe(mine)
  expect(keyOf(account('a'))).toBe(mine)
  expect(keyOf(account('b'), key, '')).not.toBe(mine)
  expect(keyOf(account('a'), key, 'x')).not.toBe(mine)
  expect(keyOf(account('a'), key, '%C3%A4', `${key}-encoded`, '1')).not.toBe(keyOf(account('a'), key, '%C3%A4'))
  // Nothing of what a client sends stays: not a guess of another one's key either.
  const raw = withOwnSharedKey([key, 'other', ':path', '/x', `${key}-encoded`, '1', key, 'more'], account('a'))
  expect(raw.filter((_, i) => i % 2 === 0)).toEqual([':path', key])
})
