import { createHash } from 'node:crypto'
import { type Caller, identityOf } from '../listener/caller.ts'
import { header, type RawHeaders } from './headers.ts'

/** Fields with which a client opens its session: BuildKit v0.33.1, session/session.go. */
const sharedKey = 'x-docker-expose-session-sharedkey'
const encoded = `${sharedKey}-encoded`

/**
 * A session's headers with a shared key that no other identity has. A daemon keeps what it was sent of a local directory, and
 * takes what looks the same (name, size, time, owner) from there for whoever comes with the same key. That of buildctl is
 * empty: without this one caller could put files into builds of another.
 */
export function withOwnSharedKey(raw: RawHeaders, caller: Caller): RawHeaders {
  const own = createHash('sha256')
    .update(JSON.stringify([identityOf(caller), header(raw, sharedKey) ?? '', header(raw, encoded) ?? '']))
    .digest('hex')
  const others = raw.filter((_, i) => {
    const name = raw[i - (i % 2)]
    return name !== sharedKey && name !== encoded
  })
  return [...others, sharedKey, own]
}
