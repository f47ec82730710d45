import { proxyVariables } from '../buildkit/proxy.ts'
import { createActivity } from '../gateway/correlate/activity.ts'
import type { GatewayConfig } from '../api/config.ts'
import { gatewayIdentity } from '../gateway/certificate/identity.ts'
import { createKubernetesDirectory } from '../gateway/directory/kubernetes.ts'
import { whyLost } from '../gateway/directory/lost.ts'
import type { GatewayOptions } from '../gateway/gateway.ts'
import { createKubernetesPlacer } from '../gateway/placement/kubernetes.ts'
import { freshnessMetrics } from '../gateway/placement/metrics.ts'
import { watchCluster } from '../gateway/placement/view.ts'
import { imageParts } from './gateway-images.ts'
import type { Env } from '../kernel/config/env.ts'
import { createKubernetesClient } from '../kernel/k8s/client.ts'
import { ports } from '../api/names.ts'
import { askAgent } from '../gateway/directory/agent-request.ts'
import { holdTurn } from '../gateway/directory/agent-turn.ts'
import { type AgentAddress, noAddress } from '../gateway/directory/agent-connection.ts'
import { askProtectedNames } from '../gateway/policy/ask-protected.ts'
import { policyParts } from './gateway-policy.ts'
import { watchProxyConfigMaps } from '../gateway/proxy/config-maps.ts'
import { clusterDomain } from '../gateway/proxy/domain.ts'
import { followNetwork } from '../gateway/proxy/network.ts'
import { namespaceEndHandlers } from '../gateway/workspace/namespace-end.ts'
import { readOptional } from '../kernel/fs/read-optional.ts'
import type { Logger } from '../kernel/log.ts'

export interface GatewayParts extends Pick<
  GatewayOptions,
  | 'directory'
  | 'placer'
  | 'tls'
  | 'httpHandlers'
  | 'podLookup'
  | 'activity'
  | 'images'
  | 'admission'
  | 'turns'
  | 'proxies'
> {
  /** What else must be there before builds are taken: a sentence while it is not. */
  readonly notReady?: () => string | undefined
  /** What is wrong although builds are taken: for /readyz. */
  readonly detail?: () => string | undefined
  /** Text for /metrics, in the Prometheus format. */
  readonly metrics?: () => string
  /** Ends watches and renewals. */
  readonly close?: () => Promise<void>
}

export interface Waiting {
  /** Ends the wait for the CA. */
  readonly signal: AbortSignal
  /** Told why the CA cannot be had. */
  readonly onFailure: (error: unknown) => void
}

/**
 * What a gateway in a cluster is made of: its certificates and its office as CA, the agents, the view, placement.
 * Waits until there is a CA.
 * @throws InsituError TLS_ABORTED when the signal ends the wait.
 */
export async function clusterParts(
  env: Env,
  logger: Logger,
  waiting: Waiting,
  policyFile: string,
  config: GatewayConfig,
): Promise<GatewayParts> {
  const client = await createKubernetesClient()
  const namespace = env['POD_NAMESPACE'] ?? client.namespace
  const ip = env['POD_IP']
  // A call that an unreachable server leaves unanswered would hold the process up for half a minute.
  const giveUp = (): void => client.close()
  waiting.signal.addEventListener('abort', giveUp, { once: true })
  const identity = await gatewayIdentity({
    client,
    namespace,
    log: logger,
    ...waiting,
    ...(ip === undefined || ip === '' ? {} : { ipAddresses: [ip] }),
  })
  waiting.signal.removeEventListener('abort', giveUp)
  const activity = createActivity()
  const leavingNode = (node: string): string | undefined => view.nodes.get(node)?.leaving
  const images = imageParts({
    ...{ client, namespace, tls: identity.tls, config: config.delivery, logger },
    agents: () => directory.agents,
    view: () => view,
    running: (node) => activity.on(node),
    policy: () => policy,
  })
  const directory = createKubernetesDirectory({
    ...{ client, namespace, tls: identity.tls, logger },
    exceptions: () => network.current(),
    leaving: leavingNode,
  })
  directory.onChange((node) => images.onAgent(node, directory.agents.get(node)))
  const view = watchCluster({
    client,
    logger,
    agents: () => directory.agents,
    onAgent: (listener) => directory.onChange(listener),
    busy: () => activity.busy,
  })
  const agentAt = (node: string): AgentAddress | undefined => {
    const host = directory.agents.get(node)?.ip
    return host === undefined ? undefined : { node, host, port: ports.agent }
  }
  const policy = await policyParts({
    ...{ file: policyFile, directory, logger },
    leaving: leavingNode,
    holdTurn: (node, wish) => {
      const agent = agentAt(node)
      // A node without agent is refused where it is dialled, with the reason.
      return agent ? holdTurn(agent, identity.tls, wish) : Promise.reject(noAddress(node))
    },
    protectedNames: askProtectedNames({
      ask: (node, path, signal) => {
        const agent = agentAt(node)
        return agent ? askAgent(agent, identity.tls, { method: 'GET', path, signal }) : Promise.resolve(undefined)
      },
      isLost: (node) => whyLost(view.nodes.get(node), directory.agents.get(node)) !== undefined,
      logger,
    }),
  })
  const proxyMaps = watchProxyConfigMaps({ client, namespace, logger })
  const network = followNetwork({
    ...{ client, logger, registries: config.push.plainHttp },
    nodes: () => view.nodes.values(),
    apiServer: env['KUBERNETES_SERVICE_HOST'],
    domain: clusterDomain(await readOptional('/etc/resolv.conf')),
  })
  return {
    directory,
    activity,
    proxies: {
      sources: (of) => proxyMaps.sources(of),
      exceptions: () => network.current(),
      own: proxyVariables(env),
    },
    admission: policy.admission,
    turns: policy.turns,
    detail: () => policy.problem(),
    placer: createKubernetesPlacer({ client, view, logger }),
    tls: identity.tls,
    images: images.images,
    httpHandlers: {
      ...identity.httpHandlers,
      ...images.httpHandlers,
      ...namespaceEndHandlers({ client, namespace, logger }),
    },
    podLookup: (address, patience) => view.lookupPod(address, patience),
    notReady: () =>
      directory.synced && view.synced && view.knowsOpenNamespaces
        ? images.notReady()
        : 'nodes, pods, namespaces and agents of the cluster are still being listed',
    metrics: () => freshnessMetrics([...view.freshness(), directory.freshness()]) + policy.metrics() + images.metrics(),
    async close() {
      await images.close()
      network.close()
      await Promise.all([directory.stop(), view.stop(), proxyMaps.stop()])
      policy.close()
      identity.close()
      client.close()
    },
  }
}
