import { InsituError } from '../kernel/errors.ts'
import type { ProxyVariables } from './proxy.ts'

/** What clients of proxies understand: curl, Go, Python. Without a scheme it is http. */
const schemes = ['http:', 'https:', 'socks4:', 'socks4a:', 'socks5:', 'socks5h:']

/** Why a text is no address of a proxy; undefined when it is one. Never quotes it: it may hold a password. */
export function proxyUrlTrouble(text: string): string | undefined {
  if (hasControl(text)) return 'holds white space or control characters'
  const url = parse(text)
  if (!url) return 'is not a URL'
  if (!schemes.includes(url.protocol)) return `has the scheme ${url.protocol}//, which no client of proxies knows`
  if (url.hostname === '') return 'names no host'
  if (!/^\/?$/.test(url.pathname) || url.search !== '' || url.hash !== '') return 'has something after host and port'
  return undefined
}

/**
 * Checks variables of one source. Values that are empty switch a proxy off and are right.
 * @param source for the message, e.g. `the build argument` or `ConfigMap team/insitu-proxy:`.
 * @throws InsituError PROXY_URL
 */
export function checkProxy(variables: ProxyVariables, source: string): void {
  for (const [name, value] of Object.entries(variables)) {
    if (value === '') continue
    const trouble = name.toUpperCase() === 'NO_PROXY' ? noProxyTrouble(value) : proxyUrlTrouble(value)
    if (trouble === undefined) continue
    throw new InsituError('PROXY_URL', `${source} ${name} ${trouble}`, {
      status: 'INVALID_ARGUMENT',
      fix: 'write http://HOST:PORT, or http://USER:PASSWORD@HOST:PORT with special characters as %XX',
    })
  }
}

/** Where a proxy listens; undefined for what is no address of one. */
export function proxyAddress(text: string): { readonly host: string; readonly port: number } | undefined {
  const url = proxyUrlTrouble(text) === undefined ? parse(text) : undefined
  if (!url) return undefined
  const usual = url.protocol === 'https:' ? 443 : url.protocol === 'http:' ? 80 : 1080
  return { host: url.hostname.replace(/^\[|\]$/g, ''), port: url.port === '' ? usual : Number(url.port) }
}

/** A proxy's address for people: without user and password, and without anything where it cannot be read. */
export function shownProxy(name: string, value: string): string {
  if (name.toUpperCase() === 'NO_PROXY' || value === '') return value
  const url = proxyUrlTrouble(value) === undefined ? parse(value) : undefined
  if (!url) return '*** (is not the URL of a proxy)'
  const user = url.username === '' && url.password === '' ? '' : '***@'
  return `${hasScheme(value) ? `${url.protocol}//` : ''}${user}${url.host}`
}

const isControl = (c: string): boolean => c < ' ' || c === '\u007f'
/** Spaces beside the commas are usual. */
const noProxyTrouble = (text: string): string | undefined =>
  Array.from(text).some(isControl) ? 'holds control characters' : undefined

const hasControl = (text: string): boolean => Array.from(text).some((c) => c === ' ' || isControl(c))
const hasScheme = (text: string): boolean => /^[a-z][a-z0-9+.-]*:\/\//i.test(text)

function parse(text: string): URL | undefined {
  try {
    return new URL(hasScheme(text) ? text : `http://${text}`)
  } catch {
    return undefined
  }
}
