import { describe, expect, it } from 'vitest'
import { createAuthority } from '../../kernel/tls/ca.ts'
import { bundle, planAuthority } from './plan.ts'

const day = 24 * 3600 * 1000
const start = new Date('2026-01-01T00:00:00Z')
const at = (days: number): Date => new Date(start.getTime() + days * day)
const signing = await createAuthority({ now: start })
const next = await createAuthority({ now: at(3400) })

describe('planAuthority', () => {
  it('makes a CA where there is none', () => {
    expect(planAuthority(undefined, start)).toEqual({ action: 'create' })
  })

  it('keeps one that has more than a year left', () => {
    expect(planAuthority({ signing }, at(3284))).toMatchObject({ action: 'keep' })
  })

  it('adds the next one in the last year, which does not sign yet', () => {
    expect(planAuthority({ signing }, at(3290))).toMatchObject({ action: 'add-next', state: { signing } })
    expect(planAuthority({ signing, next }, at(3402))).toMatchObject({ action: 'keep', state: { signing } })
  })

  it('lets the next one sign after everybody has had the time to trust it', () => {
    expect(planAuthority({ signing, next }, at(3404))).toEqual({
      action: 'write',
      state: { signing: next, previous: signing.cert },
    })
  })

  it('stops trusting the old one when it has ended', () => {
    const state = { signing: next, previous: signing.cert }
    expect(planAuthority(state, at(3600))).toMatchObject({ action: 'keep' })
    expect(planAuthority(state, at(3651))).toEqual({ action: 'write', state: { signing: next } })
  })

  it('starts again when the cluster slept through it all', () => {
    expect(planAuthority({ signing }, at(4000))).toEqual({ action: 'create' })
    expect(planAuthority({ signing, next }, at(4000))).toEqual({ action: 'write', state: { signing: next } })
  })
})

it('the bundle holds everything that is to be trusted', () => {
  expect(bundle({ signing: next, previous: signing.cert })).toBe(next.cert + signing.cert)
  expect(bundle({ signing, next })).toBe(signing.cert + next.cert)
})
