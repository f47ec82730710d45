import { isIP } from 'node:net'
import { inCidr } from '../../../api/cidr.ts'
import { mergeProxies, type ProxyVariables } from '../../../buildkit/proxy.ts'

/**
 * The proxy that a Go program such as containerd uses for a URL.
 * Source: golang.org/x/net/http/httpproxy, `Config.ProxyFunc`.
 * @param variables in either case, as its environment has them.
 */
export function proxyFor({ protocol, hostname, port }: URL, variables: ProxyVariables): string | undefined {
  const { HTTP_PROXY, HTTPS_PROXY, NO_PROXY = '' } = mergeProxies(variables)
  const proxy = protocol === 'https:' ? HTTPS_PROXY : HTTP_PROXY
  const host = hostname.replace(/^\[|\]$/g, '').toLowerCase()
  if (proxy === undefined || host === 'localhost' || isLoopback(host)) return undefined
  const at = port === '' ? (protocol === 'https:' ? '443' : '80') : port
  const excepted = NO_PROXY.split(',').some((entry) => isExcepted(entry.trim().toLowerCase(), host, at))
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
