import { describe, expect, it } from 'vitest'
import { createAuthority, issueLeaf } from './ca.ts'
import { createKeyPair } from './key.ts'
import type { TlsMaterial } from './material.ts'
import { type Clock, renewingTls } from './renewing.ts'

const hour = 3600 * 1000
const authority = await createAuthority()

/** Time that moves only when it is told to. */
function manualClock(random = 0): Clock & { advance(milliseconds: number): Promise<void>; background: boolean[] } {
  let time = Date.parse('2030-01-01T00:00:00Z')
  const background: boolean[] = []
  const waiting = new Map<() => void, number>()
  return {
    now: () => time,
    random: () => random,
    background,
    schedule(milliseconds, run, inBackground) {
      background.push(inBackground)
      waiting.set(run, time + milliseconds)
      return () => waiting.delete(run)
    },
    async advance(milliseconds) {
      time += milliseconds
      for (const [run, at] of waiting) {
        if (at > time) continue
        waiting.delete(run)
        run()
      }
      // Making a key and signing take a few turns of the event loop.
      for (let i = 0; i < 50; i++) await new Promise((resolve) => setImmediate(resolve))
    },
  }
}

async function material(now: number, lifetime = 24 * hour): Promise<TlsMaterial> {
  const { publicKey, privateKey } = await createKeyPair()
  const { cert } = await issueLeaf({ authority, publicKey, commonName: 'x', now: new Date(now), lifetime })
  return { cert, key: privateKey, ca: authority.cert }
}

describe('renewingTls', () => {
  it('renews at two thirds of the life and tells its listeners', async () => {
    const clock = manualClock()
    const prepared = [await material(clock.now()), await material(clock.now() + 16 * hour)]
    const tls = await renewingTls({ obtain: () => Promise.resolve(prepared.shift()!), clock })
    const seen: TlsMaterial[] = []
    const first = tls.current()
    expect(tls.notAfter().getTime()).toBe(clock.now() + 24 * hour)
    tls.onChange((next) => seen.push(next))
    await clock.advance(16 * hour - 1000)
    expect(tls.current()).toBe(first)
    await clock.advance(1001)
    expect(seen).toEqual([tls.current()])
    expect(tls.current().cert).not.toBe(first.cert)
    tls.close()
  })

  it('renews in time for the others by a clock that is half a day behind them', async () => {
    const clock = manualClock()
    const issuer = (): number => clock.now() + 12 * hour
    const prepared = [await material(issuer()), await material(issuer() + 16 * hour)]
    const tls = await renewingTls({ obtain: () => Promise.resolve(prepared.shift()!), clock })
    const first = tls.current()
    expect(tls.notAfter().getTime()).toBe(clock.now() + 36 * hour)
    await clock.advance(16 * hour)
    expect(tls.current()).not.toBe(first)
    tls.close()
  })

  it('renews no sooner by a clock that is past the end of each new certificate', async () => {
    const clock = manualClock()
    let calls = 0
    const obtain = (): Promise<TlsMaterial> => (calls++, material(clock.now() - 3 * hour, hour))
    const tls = await renewingTls({ obtain, clock })
    expect(tls.notAfter().getTime()).toBe(clock.now() - 2 * hour)
    for (let second = 0; second < 60; second++) await clock.advance(1000)
    expect(calls).toBe(1)
    await clock.advance(40 * 60_000)
    expect(calls).toBe(2)
    tls.close()
  })

  it('asks at most once a minute for a certificate of others that has ended', async () => {
    const clock = manualClock()
    const [now, quarter] = [clock.now(), 90 * 24 * hour]
    const { cert, key } = await createAuthority({ now: new Date(now - quarter - hour), lifetime: quarter })
    let calls = 0
    const obtain = (): Promise<TlsMaterial> => (calls++, Promise.resolve({ cert, key, ca: cert }))
    const tls = await renewingTls({ obtain, clock })
    for (let second = 0; second < 60; second++) await clock.advance(1000)
    expect(calls).toBeLessThanOrEqual(2)
    tls.close()
  })

  it('keeps the old certificate while renewing fails, tries again and succeeds', async () => {
    const clock = manualClock()
    const [one, two] = [await material(clock.now()), await material(clock.now() + 17 * hour)]
    const failures: unknown[] = []
    let answer: () => Promise<TlsMaterial> = () => Promise.resolve(one)
    const tls = await renewingTls({ obtain: () => answer(), clock, onFailure: (error) => failures.push(error) })
    answer = () => Promise.reject(new Error('gateway away'))
    await clock.advance(16 * hour)
    await clock.advance(60_000)
    await clock.advance(60_000)
    expect(failures.length).toBe(3)
    expect(tls.current()).toBe(one)
    answer = () => Promise.resolve(two)
    await clock.advance(60_000)
    expect(tls.current()).toBe(two)
    tls.close()
  })

  it('waits for the first certificate, and stops waiting when told to', async () => {
    const clock = manualClock()
    const stop = new AbortController()
    const waiting = renewingTls({ obtain: () => Promise.reject(new Error('no')), clock, signal: stop.signal })
    await clock.advance(1000)
    stop.abort(new Error('shutting down'))
    await expect(waiting).rejects.toMatchObject({ code: 'TLS_ABORTED' })
  })

  it('keeps the process alive until the first certificate is there, and not for renewals', async () => {
    const clock = manualClock()
    const one = await material(clock.now())
    let tries = 0
    const waiting = renewingTls({
      obtain: () => (tries++ === 0 ? Promise.reject(new Error('not yet')) : Promise.resolve(one)),
      clock,
    })
    await clock.advance(0)
    expect(clock.background).toEqual([false])
    await clock.advance(1000)
    const tls = await waiting
    expect(clock.background).toEqual([false, true])
    tls.close()
  })

  it('does nothing after it is closed', async () => {
    const clock = manualClock()
    const one = await material(clock.now())
    let calls = 0
    const tls = await renewingTls({ obtain: () => (calls++, Promise.resolve(one)), clock })
    tls.close()
    await clock.advance(100 * hour)
    expect(calls).toBe(1)
  })
})

describe('what is trusted', () => {
  it('follows the bundle between two renewals, with the certificate that is there, and survives failures', async () => {
    const clock = manualClock()
    let bundle = authority.cert
    const first = await material(clock.now())
    const load = (): Promise<string> => (bundle === '' ? Promise.reject(new Error('gone')) : Promise.resolve(bundle))
    const tls = await renewingTls({ obtain: () => Promise.resolve(first), clock, trust: { load, every: 60_000 } })
    const seen: TlsMaterial[] = []
    tls.onChange((next) => seen.push(next))
    await clock.advance(60_001)
    bundle = ''
    await clock.advance(60_001)
    expect(seen).toEqual([])
    bundle = 'other'
    await clock.advance(60_001)
    expect(seen).toEqual([{ ...first, ca: 'other' }])
    expect(tls.current().ca).toBe('other')
    tls.close()
  })
})
