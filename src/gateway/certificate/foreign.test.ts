import { expect, test } from 'vitest'
import { createAuthority, issueLeaf } from '../../kernel/tls/ca.ts'
import { createKeyPair } from '../../kernel/tls/key.ts'
import { checkForeign, foreignBundle } from './foreign.ts'

const day = 86_400_000
const now = new Date()
const [first, second, third, fourth] = await Promise.all([1, 2, 3, 4].map(() => createAuthority()))

test('a replaced CA stays trusted beside the new one, in the order of their age, and not for ever', () => {
  let published = foreignBundle(first!, undefined, now)
  expect(published).toBe(first!.cert)
  expect(foreignBundle(first!, published, now)).toBe(published)
  published = foreignBundle(second!, published, now)
  expect(published).toBe(second!.cert + first!.cert)
  published = foreignBundle(fourth!, foreignBundle(third!, published, now), now)
  expect(published).toBe(fourth!.cert + third!.cert + second!.cert)
  expect(foreignBundle(fourth!, published, new Date(now.getTime() + 4000 * day))).toBe(fourth!.cert)
  expect(foreignBundle(first!, 'nonsense', now)).toBe(first!.cert)
})

test('only a self-signed CA that has not ended will do', async () => {
  checkForeign(first!, 's', now)
  const ended = await createAuthority({ lifetime: day, now: new Date(now.getTime() - 2 * day) })
  expect(() => checkForeign(ended, 's', now)).toThrow(/ended on/)
  const { publicKey, privateKey } = await createKeyPair()
  const leaf = await issueLeaf({ authority: first!, publicKey, commonName: 'x' })
  expect(() => checkForeign({ cert: leaf.cert, key: privateKey }, 's', now)).toThrow(/not that of a CA/)
})
