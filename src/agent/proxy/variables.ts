import { join } from 'node:path'
import { completeNoProxy, ownNames } from '../../buildkit/no-proxy.ts'
import { mergeProxies, proxyVariables } from '../../buildkit/proxy.ts'
import type { Env } from '../../kernel/config/env.ts'
import { parseToml } from '../../kernel/config/toml.ts'
import { readOptional } from '../../kernel/fs/read-optional.ts'
import type { AgentOptions } from '../options.ts'

/**
 * What buildkitd itself gets when it starts: the agent's environment and the install's ConfigMap, which wins.
 * @param remembered entries for NO_PROXY that a gateway has told.
 */
export async function daemonProxies(
  options: Pick<AgentOptions, 'env' | 'readConfig' | 'readProxy'>,
  remembered: readonly string[],
): Promise<Record<string, string>> {
  const { env } = options
  const merged = mergeProxies(proxyVariables(env), (await options.readProxy?.()) ?? {})
  const hosts = clusterHosts(env)
  const exceptions = hosts.length > 0 ? [...ownNames(), ...hosts] : []
  return completeNoProxy(merged, [...exceptions, ...(await localRegistries(options)), ...remembered])
}

/** Addresses of the API server and of the node; none outside a cluster. */
export const clusterHosts = (env: Env): string[] =>
  [env['KUBERNETES_SERVICE_HOST'], env['HOST_IP']].flatMap((host) => (host ? [host] : []))

/** Hosts that buildkitd.toml speaks plain HTTP with, or whose certificates it does not check: they are one's own. */
export async function localRegistries({ readConfig }: Pick<AgentOptions, 'readConfig'>): Promise<string[]> {
  let registries: unknown
  try {
    registries = parseToml((await readConfig?.()) ?? '', 'buildkitd.toml')['registry']
  } catch {
    // Whoever starts the daemon says what is wrong with it.
    return []
  }
  if (typeof registries !== 'object' || registries === null) return []
  return Object.entries(registries).flatMap(([host, value]) => {
    const own = typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
    return own['http'] === true || own['insecure'] === true ? [host.replace(/:\d+$/, '')] : []
  })
}

/** Entries for NO_PROXY that a gateway told since the agent's pod has started. */
export const rememberedFile = (runDirectory: string): string => join(runDirectory, 'insitu-no-proxy')

export const remembered = async (runDirectory: string): Promise<string[]> =>
  ((await readOptional(rememberedFile(runDirectory))) ?? '').split(',').filter((entry) => entry !== '')
