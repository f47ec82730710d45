import type { DeliveryConfig } from '../api/config.ts'
import { gatewayPaths } from '../api/agent-api.ts'
import type { Peer } from '../api/images.ts'
import { ports } from '../api/names.ts'
import { createAssignments } from '../gateway/delivery/assignments.ts'
import { createAgentCalls } from '../gateway/delivery/agent-calls.ts'
import { describeBackOff, podsBackingOff } from '../gateway/delivery/back-off.ts'
import { createImageWork, type DeliveryCounters, type ImageWork } from '../gateway/delivery/image-work.ts'
import { imageMetrics } from '../gateway/delivery/metrics.ts'
import { reconcileNames } from '../gateway/delivery/reconcile.ts'
import { createRescue } from '../gateway/delivery/rescue.ts'
import type { Agent } from '../gateway/directory/agent.ts'
import { askAgent } from '../gateway/directory/agent-request.ts'
import { whyLost } from '../gateway/directory/lost.ts'
import { createInProgress } from '../gateway/images/in-progress.ts'
import { createImageIndex } from '../gateway/images/index.ts'
import { followInventories } from '../gateway/images/inventory.ts'
import { othersWait } from '../gateway/images/crowd.ts'
import { createLookups } from '../gateway/images/lookup.ts'
import { createOrdinaryImages } from '../gateway/images/ordinary-images.ts'
import { askingNode } from '../gateway/on-pull/asking.ts'
import { followOrders } from '../gateway/on-pull/orders.ts'
import { createPulls } from '../gateway/on-pull/pulls.ts'
import { unmirroredPulls } from '../gateway/on-pull/unmirrored.ts'
import { tellWanted } from '../gateway/images/wanted.ts'
import { lookupHandler } from '../gateway/images/lookup-handler.ts'
import type { LiveView } from '../gateway/placement/view.ts'
import type { HttpHandlers } from '../gateway/relay/http.ts'
import { wakePods } from '../gateway/wake/wake.ts'
import type { PolicyParts } from './gateway-policy.ts'
import type { KubernetesClient } from '../kernel/k8s/client.ts'
import type { Logger } from '../kernel/log.ts'
import { createMetrics } from '../kernel/metrics.ts'
import type { TlsSource } from '../kernel/tls/material.ts'

export interface ImagePartsOptions {
  readonly client: KubernetesClient
  readonly namespace: string
  readonly tls: TlsSource
  readonly config: DeliveryConfig
  /** The agents as the directory sees them. */
  readonly agents: () => ReadonlyMap<string, Agent>
  readonly view: () => LiveView
  /** Builds that run on a node. */
  readonly running: (node: string) => number
  /** What the policy says; absent: nothing is built on a pull. */
  readonly policy?: (() => Pick<PolicyParts, 'refusesName' | 'refusesNode'>) | undefined
  readonly logger: Logger
  /** For tests: where an agent listens. Default: its pod's address and the agents' port. */
  readonly peer?: ((agent: Agent) => Peer | undefined) | undefined
}

export interface ImageParts {
  readonly images: ImageWork
  readonly httpHandlers: HttpHandlers
  /** To be told by the directory. */
  readonly onAgent: (node: string, agent: Agent | undefined) => void
  /** What it does not know yet although it has been started a moment ago only. For /readyz. */
  notReady(): string | undefined
  metrics(): string
  close(): Promise<void>
}

/** Milliseconds after its start in which a gateway knows the images of all nodes. */
const inventoriesWithin = 30_000

/** … and in which it takes no clients and answers no mirror before it does: it would say that nobody has an image. */
const unreadyWithin = 10_000

/** Milliseconds for which a pull is held because the only node that had the image is between two agents. */
const awaitedFor = 20_000

/** What a gateway knows and does about built images: the index, lookups, delivery. */
export function imageParts(options: ImagePartsOptions): ImageParts {
  const { client, namespace, tls, config, agents, view, running, logger } = options
  const address =
    options.peer ?? (({ node, ip }) => (ip === undefined ? undefined : { node, host: ip, port: ports.agent }))
  // Also of one that drains: its builds end there, and what they made is on its node until it is back.
  const peer = (node: string): Peer | undefined => {
    const agent = agents().get(node)
    return agent && address(agent)
  }
  /** Nodes that are there, are between two agents and had the name. */
  const awaited = (name: string, most?: number): string[] =>
    inventories.awaited(name, most).filter((node) => view().nodes.get(node)?.ready === true)
  const drains = (node: string): boolean => agents().get(node)?.draining ?? false
  const platform = (node: string): string | undefined => view().nodes.get(node)?.platform
  const index = createImageIndex()
  const ordinary = createOrdinaryImages()
  const inProgress = createInProgress()
  const direct = createAgentCalls({ peer, drains, tls })
  const assignments = createAssignments((...args) => direct.pull(...args))
  const calls = { ...direct, pull: assignments.pull }
  const counters: DeliveryCounters = { delivered: 0, failed: 0, bytes: 0, running: 0 }
  const started = Date.now()
  const metrics = createMetrics()
  const { policy } = options
  const orders = policy && followOrders({ client, logger })
  const pulls =
    policy &&
    orders &&
    createPulls({
      ...{ client, orders, index, logger, metrics },
      asking: (node, of) =>
        askingNode(node, of.pushes, {
          ...{ agents, view, refusal: (at) => policy().refusesNode(of.namespace, of.serviceAccount, at) },
        }),
      // Not its agent: one that is only restarted, or replaced, gives the image a moment later.
      lost: (node) => view().nodes.get(node)?.ready === false,
      unmirrored: () => unmirroredPulls(view(), agents()),
      refusal: (...of) => policy().refusesName(...of),
      unsure(name) {
        if (!orders.synced || awaited(name).length > 0) return true
        // A node that never answers is not waited for.
        return inventories.pending > 0 && Date.now() - started < inventoriesWithin
      },
    })
  const lookups = createLookups({
    pulls,
    index,
    ordinary,
    inProgress,
    ...{ peer, drains, platform, load: running },
    assigned: (...of) => assignments.source(...of),
    crowded: (node, name) => othersWait(view(), node, name),
    // It may be in a registry, too: nobody waits long for an agent that does not come.
    awaited: (name) => awaited(name, awaitedFor),
  })
  const inventories = followInventories({
    index,
    ordinary,
    logger,
    async ask(agent, path) {
      const at = address(agent)
      return at && askAgent(at, tls, { method: 'GET', path, timeout: 10_000 })
    },
  })
  const wake = async (node: string, names: readonly string[]): Promise<void> => {
    await wakePods({ client, view: view(), logger }, [node], names)
  }
  const waitingFor: LiveView['waitingFor'] = (image) => view().waitingFor(image)
  const stopReconciling = reconcileNames({ index, agents: calls, logger })
  const stopTelling = tellWanted({
    ...{ index, view, agents, logger },
    complete: (signal) => view().whenComplete(signal),
    tell: (node, names) => calls.wanted(node, names),
  })
  const reachable = (node: string): boolean => agents().get(node)?.ready ?? false
  const rescue = createRescue({
    ...{ index, inProgress, view: { waitingFor }, agents: calls },
    ...{ reachable, platform, wake, logger },
  })
  return {
    images: createImageWork({
      ...{ index, inProgress, agents: calls, config, logger, wake },
      metrics: counters,
      able: (builder) => sameMachines(agents(), builder, running),
      told: (name) => lookups.told(name),
      keeps: (node) => agents().get(node)?.rootless !== true,
      lost: (node) => whyLost(view().nodes.get(node), agents().get(node)),
      stuck: (names) => describeBackOff(client, podsBackingOff({ waitingFor }, names), logger),
    }),
    httpHandlers: { [`GET ${gatewayPaths.lookup}`]: lookupHandler(lookups, namespace) },
    onAgent: (node, agent) => inventories.agent(node, agent),
    notReady() {
      const { unread } = inventories
      if (unread === 0 || Date.now() - started >= unreadyWithin) return undefined
      return `the images of ${unread} of the nodes are still being read`
    },
    metrics: () =>
      imageMetrics({
        ...counters,
        held: lookups.held,
        building: inProgress.names,
        pending: inventories.pending,
        ...index.size,
      }) + metrics.render(),
    async close() {
      pulls?.close()
      await orders?.stop()
      rescue.stop()
      stopReconciling()
      stopTelling()
      inventories.stop()
    },
  }
}

/** Nodes that build for the platform of this one natively, those with the fewest builds first. */
function sameMachines(
  agents: ReadonlyMap<string, Agent>,
  builder: string,
  running: (node: string) => number,
): string[] {
  const platform = agents.get(builder)?.platforms[0]
  return [...agents.values()]
    .filter((agent) => agent.ready && !agent.rootless && agent.platforms[0] === platform)
    .map(({ node }) => node)
    .toSorted((a, b) => running(a) - running(b) || (a < b ? -1 : 1))
}
