import { readFile } from 'node:fs/promises'
import { type ProxyVariables, proxyVariables } from '../../../buildkit/proxy.ts'
import type { Logger } from '../../../kernel/log.ts'
import { type ConfigPathOptions, registryDirectories } from '../config-path.ts'
import { originClient } from './ask-origin.ts'
import { nodeAuthorities, originHosts } from './origin-hosts.ts'
import { type PublicManifests, publicManifests } from './public-manifests.ts'

export interface NodeRegistries extends PublicManifests {
  close(): void
}

/** Registries as the containerd of this node asks them: its hosts, its proxies, the authorities that its node trusts. */
export async function nodeRegistries(options: ConfigPathOptions & { readonly log: Logger }): Promise<NodeRegistries> {
  const { pid, hostRoot, log } = options
  const directories = await registryDirectories(options)
  const client = originClient(await proxiesOf(pid), await nodeAuthorities(hostRoot))
  const hosts = (registry: string) => originHosts(registry, { directories, hostRoot })
  return { ...publicManifests({ client, hosts, log }), close: () => client.close() }
}

/** The proxy variables with which a process was started. */
async function proxiesOf(pid: number | undefined): Promise<ProxyVariables> {
  const text = pid === undefined ? '' : await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '')
  const entries = text.split('\0').map((entry) => /^([^=]+)=(.*)$/s.exec(entry) ?? [])
  return proxyVariables(Object.fromEntries(entries.map(([, name = '', value = '']) => [name, value])))
}
