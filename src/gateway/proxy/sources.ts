import { completeNoProxy } from '../../buildkit/no-proxy.ts'
import { checkProxy } from '../../buildkit/proxy-url.ts'
import { mergeProxies, type ProxyVariables } from '../../buildkit/proxy.ts'
import type { ProxySource } from './config-maps.ts'

/** What a cluster adds to the variables of a node's agent. */
export interface ProxySources {
  /** Of a caller's namespace, later ones win. */
  sources(namespace: string | undefined): readonly ProxySource[]
  /** Entries for NO_PROXY. */
  exceptions(): readonly string[]
  /** Of the gateway's own environment: for what it asks registries itself. */
  readonly own: ProxyVariables
}

/** Where there is no cluster. */
export const noSources: ProxySources = { sources: () => [], exceptions: () => [], own: {} }

/**
 * The variables for a build, all sources merged.
 * @param agent the node's agent's variables, and in `LOCAL_REGISTRIES` hosts for NO_PROXY, with commas between them.
 * @throws InsituError PROXY_URL for one that is no address, with its source.
 */
export function joinSources(
  node: string,
  agent: ProxyVariables,
  sources: readonly ProxySource[],
  exceptions: readonly string[],
): Record<string, string> {
  const { LOCAL_REGISTRIES: registries = '', ...variables } = agent
  const all = [{ name: `node ${node}: the agent's variable`, variables }, ...sources]
  for (const { name, variables: own } of all) checkProxy(own, name)
  const merged = mergeProxies(...all.map(({ variables: own }) => own))
  return completeNoProxy(merged, [...exceptions, ...registries.split(',').filter((host) => host !== '')])
}
