import { isIP } from 'node:net'
import { inCidr } from '../cidr.ts'
import type { Env } from '../config/env.ts'

/**
 * The proxy that a Go program such as containerd uses for a URL.
 * Source: golang.org/x/net/http/httpproxy, `Config.ProxyFunc`.
 * @param variables in either case, as its environment has them; where both differ the lower one counts.
 */
export function proxyFor({ protocol, hostname, port }: URL, variables: Env): string | undefined {
  const read = (name: string): string => (variables[name.toLowerCase()] ?? variables[name] ?? '').trim()
  const proxy = read(protocol === 'https:' ? 'HTTPS_PROXY' : 'HTTP_PROXY')
  const host = hostname.replace(/^\[|\]$/g, '').toLowerCase()
  if (proxy === '' || host === 'localhost' || isLoopback(host)) return undefined
  const at = port === '' ? (protocol === 'https:' ? '443' : '80') : port
  const excepted = read('NO_PROXY')
    .split(',')
    .some((entry) => isExcepted(entry.trim().toLowerCase(), host, at))
  return excepted ? undefined : /^[a-z][a-z0-9+.-]*:\/\//i.test(proxy) ? proxy : `http://${proxy}`
}

const isLoopback = (host: string): boolean => inCidr(host, '127.0.0.0/8') || inCidr(host, '::1')

function isExcepted(entry: string, host: string, port: string): boolean {
  if (entry === '') return false
  if (entry === '*' || inCidr(host, entry)) return true
  const [, name = '', wanted] = /^(\[.+\]|[^:]*):(\d+)$/.exec(entry) ?? [undefined, entry]
  if (wanted !== undefined && wanted !== port) return false
  const plain = name.replace(/^\[|\]$/g, '')
  if (isIP(plain) !== 0) return inCidr(host, plain)
  const domain = plain.replace(/^\*/, '')
  // With a dot in front only what is below it.
  return domain.startsWith('.') ? host.endsWith(domain) : host === domain || host.endsWith(`.${domain}`)
}
