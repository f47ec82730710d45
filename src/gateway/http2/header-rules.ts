import type { RawHeaders } from './raw-headers.ts'

/** Fields that concern one HTTP/1 hop (RFC 9113 section 8.2.2). */
const perConnection = new Set(['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade'])
const requestPseudo = new Set([':method', ':scheme', ':path', ':authority', ':protocol'])
const token = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/
// eslint-disable-next-line no-control-regex -- these are the characters that must not occur
const forbidden = /[\0\r\n]/

/** Why a list of fields is malformed (RFC 9113 section 8.2 and 8.3), or undefined. */
export function requestFault(raw: RawHeaders): string | undefined {
  const seen = new Map<string, string>()
  const fault = fieldsFault(raw, (name, value) => {
    if (!requestPseudo.has(name)) return `an unknown pseudo field ${name}`
    if (seen.has(name)) return `${name} twice`
    seen.set(name, value)
    return undefined
  })
  if (fault !== undefined) return fault
  if (seen.has(':protocol')) return 'extended CONNECT is not offered'
  if (seen.get(':method') === 'CONNECT') return 'CONNECT is not offered'
  for (const name of [':method', ':scheme', ':path']) if ((seen.get(name) ?? '') === '') return `no ${name}`
  return undefined
}

/** The same for a response; `:status` is its only pseudo field. */
export function responseFault(raw: RawHeaders): string | undefined {
  const status = raw[0] === ':status' ? raw[1] : undefined
  if (status === undefined || !/^\d{3}$/.test(status)) return 'no :status'
  return fieldsFault(raw, (name) => (name === ':status' && raw.lastIndexOf(':status') === 0 ? undefined : name))
}

/** Trailers have no pseudo fields. */
export const trailersFault = (raw: RawHeaders): string | undefined => fieldsFault(raw, (name) => `${name} in trailers`)

function fieldsFault(raw: RawHeaders, pseudo: (name: string, value: string) => string | undefined): string | undefined {
  let regular = false
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i]!
    const value = raw[i + 1]!
    if (forbidden.test(value)) return `a forbidden character in ${JSON.stringify(name)}`
    if (name.startsWith(':')) {
      if (regular) return `${name} after other fields`
      const fault = pseudo(name, value)
      if (fault !== undefined) return fault
      continue
    }
    regular = true
    if (!token.test(name)) return 'a name that is not a lower-case token'
    if (perConnection.has(name)) return `the field ${name}`
    if (name === 'te' && value !== 'trailers') return 'a te other than trailers'
  }
  return undefined
}
