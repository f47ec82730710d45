import { mergeProxies, type ProxyVariables } from './proxy.ts'

/** Never through a proxy, wherever a build runs. A dot first: the name and everything below it. */
export const ownNames = (clusterDomain = 'cluster.local'): string[] => [
  ...['localhost', '127.0.0.1', '::1', '.svc', `.${clusterDomain}`],
]

/**
 * Completes NO_PROXY where there is a proxy: with `*` in it, or without a proxy, nothing is added.
 * @returns names in upper case.
 */
export function completeNoProxy(variables: ProxyVariables, exceptions: readonly string[]): Record<string, string> {
  const merged = mergeProxies(variables)
  const { NO_PROXY: own = '', ...proxies } = merged
  if (Object.keys(proxies).length === 0) return merged
  const said = own
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '')
  if (said.includes('*')) return merged
  const all = [...new Set([...said, ...exceptions])]
  return all.length === 0 ? merged : { ...proxies, NO_PROXY: all.join(',') }
}
