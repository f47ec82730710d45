import type { RawHeaders } from '../http2/raw-headers.ts'

export type { RawHeaders }

/** The first value of a (lower-case) name. */
export function header(raw: RawHeaders, name: string): string | undefined {
  for (let i = 0; i + 1 < raw.length; i += 2) if (raw[i] === name) return raw[i + 1]
  return undefined
}

/** The value of a name that must not be there twice: the daemon might read the other one. */
export function soleHeader(raw: RawHeaders, name: string): string | undefined {
  const values = raw.filter((_, i) => i % 2 === 1 && raw[i - 1] === name)
  return values.length === 1 ? values[0] : undefined
}

/** The same fields with another value of one that is there once. */
export const withHeader = (raw: RawHeaders, name: string, value: string): RawHeaders =>
  raw.map((text, i) => (i % 2 === 1 && raw[i - 1] === name ? value : text))

// Meant for one hop only, or set anew by us.
const perHop = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
  'content-length',
])

/** A client's request headers as the daemon gets them. The authority names us, not the daemon: it is replaced. */
export function upstreamHeaders(raw: RawHeaders): string[] {
  const result: string[] = []
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const [name, value] = [raw[i] as string, raw[i + 1] as string]
    if (perHop.has(name) || name === 'host') continue
    if (name === ':scheme') result.push(name, 'http')
    else result.push(name, name === ':authority' ? 'localhost' : value)
  }
  return result
}

/** A daemon's response headers as the client gets them. */
export function downstreamHeaders(raw: RawHeaders): string[] {
  const result: string[] = []
  for (let i = 0; i + 1 < raw.length; i += 2) {
    // The length is that of the daemon's body, which may not be ours.
    if (!perHop.has(raw[i] as string)) result.push(raw[i] as string, raw[i + 1] as string)
  }
  return result
}

/** The fields as an object; of lines of one name the first. */
export function headerObject(raw: RawHeaders): Readonly<Record<string, string | undefined>> {
  const result: Record<string, string> = Object.create(null) as Record<string, string>
  for (let i = 0; i + 1 < raw.length; i += 2) result[raw[i]!] ??= raw[i + 1]!
  return result
}
