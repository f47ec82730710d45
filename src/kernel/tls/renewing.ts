import { X509Certificate } from 'node:crypto'
import { describeError, InsituError } from '../errors.ts'
import { createBackoff } from '../k8s/backoff.ts'
import type { Logger } from '../log.ts'
import { longestLife, skew } from './lifetimes.ts'
import type { TlsMaterial, TlsSource } from './material.ts'

/** A TlsSource that renews its certificate by itself until it is closed. */
export interface RenewingTls extends TlsSource {
  /** End of the current certificate. */
  notAfter(): Date
  close(): void
}

export interface RenewingOptions {
  /** Makes or fetches a certificate with a new key. Called again at two thirds of its life, and until it succeeds. */
  readonly obtain: (signal: AbortSignal) => Promise<TlsMaterial>
  readonly log?: Logger | undefined
  /** Ends the wait for the first certificate. */
  readonly signal?: AbortSignal | undefined
  /** Told each time `obtain` fails, e.g. to say on /readyz what is missing. */
  readonly onFailure?: ((error: unknown) => void) | undefined
  /**
   * What is to be trusted now, PEM. Asked so often: a CA that was replaced must be known before its first certificate
   * is met, and the own certificate may be good for many hours more.
   */
  readonly trust?: { readonly load: (signal: AbortSignal) => Promise<string>; readonly every: number } | undefined
  /** The longest wait between two tries, milliseconds. Default 15,000. */
  readonly maxBackoff?: number
  readonly clock?: Clock
}

/** Time, so that tests need not wait. */
export interface Clock {
  now(): number
  /**
   * @param background true: waiting for this keeps no process alive that has nothing else to do.
   * @returns a function that cancels.
   */
  schedule(milliseconds: number, run: () => void, background: boolean): () => void
  random(): number
}

export const systemClock: Clock = {
  now: Date.now,
  schedule(milliseconds, run, background) {
    const timer = setTimeout(run, milliseconds)
    if (background) timer.unref()
    return () => clearTimeout(timer)
  },
  random: Math.random,
}

/**
 * Milliseconds that a new certificate is good for. Of ours, which are good since a day before they were made, it says so
 * itself: to a clock that is behind a life seems longer than it is for the others, and to one that is ahead it may be over
 * already, for ever. Of others it is what is left, and at least so much that two thirds of it are a minute.
 */
function lifeOf({ validFrom, validTo }: X509Certificate, now: number): number {
  const [begin, end] = [Date.parse(validFrom), Date.parse(validTo)]
  const own = end - begin - skew
  return own > 0 && own <= longestLife ? own : Math.min(Math.max(end - now, 100_000), longestLife)
}

interface Held {
  readonly material: TlsMaterial
  /** Milliseconds since 1970. */
  readonly notAfter: number
  readonly renewAt: number
}

/**
 * Waits for the first certificate, then keeps it fresh. When renewing fails the old one stays in use, also past its
 * end: connections then fail with a reason, which is better than a process without any.
 * @throws InsituError TLS_ABORTED when the signal ends the first wait.
 */
export async function renewingTls(options: RenewingOptions): Promise<RenewingTls> {
  const { clock = systemClock, log } = options
  const closing = new AbortController()
  const listeners = new Set<(material: TlsMaterial) => void>()
  const backoff = createBackoff({ base: 250, max: options.maxBackoff ?? 15_000, random: () => clock.random() })
  let cancel: () => void = () => {}
  let stopTrust: () => void = () => {}
  let first = true

  const wait = (milliseconds: number, signal: AbortSignal): Promise<void> =>
    new Promise((resolve, reject) => {
      const abort = (): void => {
        stop()
        reject(signal.reason instanceof Error ? signal.reason : new Error('aborted'))
      }
      const finish = (): void => {
        signal.removeEventListener('abort', abort)
        resolve()
      }
      // Until the first certificate is there a process may have nothing but this wait.
      const stop = clock.schedule(milliseconds, finish, !first)
      cancel = stop
      if (signal.aborted) abort()
      else signal.addEventListener('abort', abort, { once: true })
    })

  const obtain = async (signal: AbortSignal): Promise<Held> => {
    for (;;) {
      signal.throwIfAborted()
      try {
        const material = await options.obtain(signal)
        const certificate = new X509Certificate(material.cert)
        const notAfter = Date.parse(certificate.validTo)
        backoff.reset()
        // A little before two thirds, at random, so that the agents of a big cluster do not all come at once.
        const renewAt =
          clock.now() + Math.max(1000, lifeOf(certificate, clock.now()) * (2 / 3) * (1 - 0.1 * clock.random()))
        return { material, notAfter, renewAt }
      } catch (error) {
        if (signal.aborted) throw error
        options.onFailure?.(error)
        const pause = backoff.next()
        log?.[backoff.failures === 1 ? 'info' : 'warn'](
          { tries: backoff.failures, retry: Math.round(pause) },
          `no certificate yet: ${describeError(error)}`,
        )
        await wait(pause, signal)
      }
    }
  }

  let held: Held
  try {
    held = await obtain(options.signal ?? closing.signal)
  } catch (cause) {
    throw new InsituError('TLS_ABORTED', 'stopped before a certificate was there', { status: 'CANCELLED', cause })
  }

  first = false
  const renew = async (): Promise<void> => {
    try {
      for (;;) {
        // In short steps, because timers stand still while a machine sleeps and certificates do not.
        for (let left; (left = held.renewAt - clock.now()) > 0;) await wait(Math.min(left, 600_000), closing.signal)
        held = await obtain(closing.signal)
        log?.info({ notAfter: new Date(held.notAfter).toISOString() }, 'certificate renewed')
        for (const listener of listeners) listener(held.material)
      }
    } catch (error) {
      if (!closing.signal.aborted) log?.error(`certificates are no longer renewed: ${describeError(error)}`)
    }
  }
  void renew()

  const followTrust = async ({ load, every }: NonNullable<RenewingOptions['trust']>): Promise<void> => {
    while (!closing.signal.aborted) {
      await new Promise<void>((resolve) => {
        stopTrust = clock.schedule(every, resolve, true)
      })
      if (closing.signal.aborted) return
      const ca = await load(closing.signal).catch((error: unknown) => {
        log?.debug(`what is to be trusted cannot be asked: ${describeError(error)}`)
        return held.material.ca
      })
      if (ca === held.material.ca) continue
      held = { ...held, material: { ...held.material, ca } }
      log?.info('other CAs are trusted from now on')
      for (const listener of listeners) listener(held.material)
    }
  }
  if (options.trust) void followTrust(options.trust)

  return {
    current: () => held.material,
    notAfter: () => new Date(held.notAfter),
    onChange(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    close() {
      closing.abort(new Error('closed'))
      cancel()
      stopTrust()
      listeners.clear()
    },
  }
}
