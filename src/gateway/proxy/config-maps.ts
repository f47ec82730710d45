import { configMaps } from '../../api/names.ts'
import { type ProxyVariables, proxyVariables } from '../../buildkit/proxy.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import type { KubernetesObject } from '../../kernel/k8s/objects.ts'
import { resources } from '../../kernel/k8s/resources.ts'
import { watchResource } from '../../kernel/k8s/watch.ts'
import type { Logger } from '../../kernel/log.ts'

/** Proxy variables with where they come from, for messages. */
export interface ProxySource {
  /** `ConfigMap team/insitu-proxy:` */
  readonly name: string
  readonly variables: ProxyVariables
}

/** The ConfigMaps `insitu-proxy`: of the install, and of namespaces. */
export interface ProxyConfigMaps {
  /** For a caller of a namespace, the install's first: later ones win. */
  sources(namespace: string | undefined): readonly ProxySource[]
  whenSynced(signal?: AbortSignal): Promise<void>
  stop(): Promise<void>
}

interface RawConfigMap extends KubernetesObject {
  readonly data?: Readonly<Record<string, string>>
}

export interface ProxyConfigMapOptions {
  readonly client: KubernetesClient
  /** insitu's own. */
  readonly namespace: string
  readonly logger: Logger
}

/** Follows the ConfigMaps of that name in all namespaces. RBAC lets a gateway see no others. */
export function watchProxyConfigMaps({ client, namespace, logger }: ProxyConfigMapOptions): ProxyConfigMaps {
  const watch = watchResource<RawConfigMap, ProxyVariables>({
    client,
    resource: resources.configMaps,
    fieldSelector: `metadata.name=${configMaps.proxy}`,
    pick: ({ data = {} }) => proxyVariables(data),
    logger,
  })
  return {
    sources: (of) =>
      [...new Set([namespace, of])].flatMap((space) => {
        const variables = space === undefined ? undefined : watch.items.get(`${space}/${configMaps.proxy}`)
        return variables ? [{ name: `ConfigMap ${space}/${configMaps.proxy}:`, variables }] : []
      }),
    whenSynced: (signal) => watch.whenSynced(signal),
    stop: () => watch.stop(),
  }
}
