import { type CallKind, callKind } from '../../buildkit/methods.ts'
import { InsituError } from '../../kernel/errors.ts'

/** Node takes a longer time for one millisecond. */
const longestTimer = 2 ** 31 - 1

/** Calls something at a time, in milliseconds since 1970. @returns what calls it off. */
export function callAt(time: number, act: () => void): () => void {
  let timer: NodeJS.Timeout | undefined
  const wait = (): void => {
    const rest = time - Date.now()
    if (rest <= 0) return act()
    timer = setTimeout(wait, Math.min(rest, longestTimer)).unref()
  }
  wait()
  return () => clearTimeout(timer)
}

/** What a build needs to come to its end, and nothing begins with. */
const ofRunningBuilds: ReadonlySet<CallKind> = new Set([
  'session',
  'status',
  'bridge',
  'bridge-solve',
  'trace',
  'health',
])

/** Whether a call goes on over a connection whose client certificate has ended: a build is not cut off in the middle. */
export const outlivesCertificate = (path: string): boolean => ofRunningBuilds.has(callKind(path))

export const certificateEnded = (): InsituError =>
  new InsituError('CERTIFICATE_REFUSED', 'the client certificate of this connection has ended', {
    status: 'UNAUTHENTICATED',
    fix: 'get a new certificate from this cluster, and connect again',
  })
