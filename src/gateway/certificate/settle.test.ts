import { expect, test } from 'vitest'
import { createAuthority } from '../../kernel/tls/ca.ts'
import type { ClusterAuthority } from './authority.ts'
import { foreignBundle } from './foreign.ts'
import { settling } from './settle.ts'

const minute = 60_000
const day = 24 * 60 * minute
const start = new Date()
const at = (milliseconds: number): Date => new Date(start.getTime() + milliseconds)
const [first, second, third] = await Promise.all([1, 2, 3].map(() => createAuthority()))

/** What is seen after somebody has replaced the first CA by the second, and that by the third. */
const before: ClusterAuthority = { signing: first!, bundle: foreignBundle(first!, undefined, start) }
const replaced: ClusterAuthority = { signing: second!, bundle: foreignBundle(second!, before.bundle, start) }
const again: ClusterAuthority = { signing: third!, bundle: foreignBundle(third!, replaced.bundle, start) }

test('a CA that replaces another is trusted at once, and signs once everybody has had time to see it', () => {
  const settle = settling(10 * minute)
  expect(settle(before, start)).toEqual(before)
  expect(settle(replaced, at(minute))).toEqual({ signing: first, bundle: replaced.bundle })
  expect(settle(replaced, at(10 * minute))).toEqual({ signing: first, bundle: replaced.bundle })
  expect(settle(replaced, at(11 * minute))).toEqual(replaced)
  expect(settle(replaced, at(12 * minute))).toEqual(replaced)
})

test('one that is replaced before it has signed never does, and one that comes back signs on', () => {
  const settle = settling(10 * minute)
  settle(before, start)
  settle(replaced, at(minute))
  expect(settle(again, at(9 * minute))).toEqual({ signing: first, bundle: again.bundle })
  expect(settle(again, at(12 * minute)).signing).toEqual(first)
  expect(settle(before, at(13 * minute))).toEqual(before)
  expect(settle(again, at(14 * minute)).signing).toEqual(first)
  expect(settle(again, at(24 * minute))).toEqual(again)
})

test('a gateway that has seen no other CA signs with what it finds', () => {
  expect(settling(10 * minute)(replaced, start)).toEqual(replaced)
})

test('the former CA does not sign once it is taken out of the bundle', () => {
  const settle = settling(10 * minute)
  settle(before, start)
  expect(settle({ ...replaced, bundle: second!.cert }, at(minute)).signing).toEqual(second)
})

test('nor when it ends before what it would sign, or has ended', async () => {
  for (const lifetime of [day, 2 * minute]) {
    const short = await createAuthority({ now: start, lifetime })
    const settle = settling(10 * minute)
    settle({ signing: short, bundle: short.cert }, start)
    const seen = { signing: second!, bundle: second!.cert + short.cert }
    expect(settle(seen, at(3 * minute)).signing).toEqual(second)
  }
})
