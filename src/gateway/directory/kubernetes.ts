import { agentPaths } from '../../api/agent-api.ts'
import { labels, ports } from '../../api/names.ts'
import { describeError } from '../../kernel/errors.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import { resources } from '../../kernel/k8s/resources.ts'
import { watchResource, type WatchOptions } from '../../kernel/k8s/watch.ts'
import type { Logger } from '../../kernel/log.ts'
import type { TlsSource } from '../../kernel/tls/material.ts'
import type { Freshness } from '../placement/view.ts'
import { chooseAgent, readAgent, type Agent, type RawAgentPod } from './agent.ts'
import { dialAgent, type AgentAddress, noAddress } from './agent-connection.ts'
import { askAgent, fetchProxy } from './agent-request.ts'
import { askForEnd, fateOfDaemon } from './fate.ts'
import { createSilence, type SilenceOptions } from './silence.ts'
import type { BuildNode, Directory } from './directory.ts'

export interface KubernetesDirectory extends Directory {
  /** By node, for placement and for people. */
  readonly agents: ReadonlyMap<string, Agent>
  /** From now on the listener is told the node of each agent that comes, goes or changes. */
  onChange(listener: (node: string) => void): void
  readonly synced: boolean
  whenSynced(signal?: AbortSignal): Promise<void>
  /** For metrics, as the view's. */
  freshness(): Freshness
  stop(): Promise<void>
}

export interface KubernetesDirectoryOptions {
  readonly client: KubernetesClient
  /** Where the agents run. */
  readonly namespace: string
  /** The gateway's certificate, and the CA of the agents'. */
  readonly tls: TlsSource
  readonly logger: Logger
  /** Why a node will be gone soon, undefined if it stays; for what clients are told. */
  readonly leaving?: (node: string) => string | undefined
  /** Default: the agents' port. */
  readonly port?: number
  /** What of the cluster no proxy is asked for; agents are told when they are asked for theirs. Default nothing. */
  readonly exceptions?: () => readonly string[]
  /** Milliseconds for which proxy variables are kept. Default 30,000. */
  readonly proxyCache?: number
  readonly now?: () => number
  /** For tests. */
  readonly watch?: Pick<WatchOptions<RawAgentPod, unknown>, 'stallAfter' | 'backoff' | 'pageSize'>
  readonly silence?: Pick<SilenceOptions, 'interval'>
}

/** The agents as they are now, by node: for commands that look once and do not dial. */
export async function listAgents(client: KubernetesClient, namespace: string): Promise<Map<string, Agent>> {
  const labelSelector = `${labels.role}=agent`
  const pods = await client.list<RawAgentPod>(resources.pods, { namespace, labelSelector })
  const agents = pods.flatMap((pod) => readAgent(pod) ?? [])
  const byNode = Map.groupBy(agents, (agent) => agent.node)
  return new Map([...byNode].map(([node, all]) => [node, chooseAgent(all) as Agent]))
}

/** The nodes with an agent, from a watch of the agents' pods. */
export function createKubernetesDirectory(options: KubernetesDirectoryOptions): KubernetesDirectory {
  const { client, namespace, tls, logger, port = ports.agent, proxyCache = 30_000, now = Date.now } = options
  const pods = new Map<string, Map<string, Agent>>()
  const agents = new Map<string, Agent>()
  const nodes = new Map<string, BuildNode>()
  const proxies = new Map<string, ProxyCache>()
  /** When nodes lost their last agent, of those that have not got another one. */
  const left = new Map<string, number>()
  let sorted: readonly BuildNode[] | undefined
  const listeners: ((node: string) => void)[] = []

  /** The agent as its pod is now; undefined when that is gone. */
  const known = ({ node, uid }: Agent): Agent | undefined => pods.get(node)?.get(uid)
  const silence = createSilence({
    // Its pod may have got another address since: a node was switched off and on.
    ask: async (agent) => fetchProxy(addressOf(known(agent) ?? agent), tls),
    onChange: ({ node }) => settle(node),
    ...options.silence,
  })
  /** An agent as it can be used: one that cannot be reached is not ready, whatever it reported last. */
  const heard = (agent: Agent | undefined): Agent | undefined =>
    agent && silence.has(agent) ? { ...agent, ready: false, trouble: 'does not answer', silent: true } : agent
  const reached = async <T>(agent: Agent, call: Promise<T>, signal?: AbortSignal): Promise<T> => {
    try {
      return await call
    } catch (error) {
      // One that has no address yet, or is being stopped, is not ready anyway; one whose pod went meanwhile comes no more.
      if (agent.ready && !signal?.aborted && known(agent)) silence.noticed(agent)
      throw error
    }
  }
  const lately = (): readonly string[] => {
    for (const [node, at] of left) if (now() - at > moment) left.delete(node)
    return [...left.keys()]
  }
  const settle = (node: string): void => {
    const agent = heard(chooseAgent([...(pods.get(node)?.values() ?? [])]))
    const before = agents.get(node)
    sorted = undefined
    if (agent) {
      agents.set(node, agent)
      nodes.set(node, buildNode(agent))
      left.delete(node)
    } else {
      if (before) left.set(node, now())
      // Those of long ago are forgotten.
      lately()
      agents.delete(node)
      nodes.delete(node)
      pods.delete(node)
    }
    for (const listener of listeners) listener(node)
    if (before?.ready !== agent?.ready) {
      const trouble = agent ? agent.trouble : 'is gone'
      logger.info({ node, ready: agent?.ready ?? false, trouble }, 'an agent changed')
    }
  }
  const remove = (agent: Agent): void => {
    pods.get(agent.node)?.delete(agent.uid)
    proxies.delete(agent.uid)
    silence.forget(agent)
    settle(agent.node)
  }
  const watch = watchResource<RawAgentPod, Agent>({
    client,
    resource: resources.pods,
    namespace,
    labelSelector: `${labels.role}=agent`,
    pick: readAgent,
    onUpsert(_, agent, previous) {
      if (previous && previous.uid !== agent.uid) remove(previous)
      const here = pods.get(agent.node) ?? new Map<string, Agent>()
      pods.set(agent.node, here.set(agent.uid, agent))
      settle(agent.node)
    },
    onDelete: (_, previous) => remove(previous),
    logger,
    ...options.watch,
  })

  const buildNode = (agent: Agent): BuildNode => ({
    name: agent.node,
    report: agent.report,
    ready: agent.ready,
    // The agent that is there now: a build may have been placed before its pod was replaced.
    instance: () => {
      // A node that was switched off and on has the same pod, with another address, and says no word to old connections.
      const { uid, ip, ended } = agents.get(agent.node) ?? agent
      return [uid, ip, ended?.at].join(' ')
    },
    dial: async (signal) => {
      const now = agents.get(agent.node) ?? agent
      return reached(now, dialAgent(addressOf(now), tls, signal), signal)
    },
    fate: () =>
      fateOfDaemon({
        agent: () => agents.get(agent.node),
        ask: (now, timeout) => askForEnd(addressOf(now), tls, timeout),
        leaving: () => options.leaving?.(agent.node),
      }),
    proxy: async () => proxyOf(agent),
    answers: async () => {
      const now = agents.get(agent.node) ?? agent
      return reached(now, fetchProxy(addressOf(now), tls, patientTimeout))
    },
  })
  /** A pod's variables do not change while it lives: the short life of the cache is for agents that did not answer well. */
  const proxyOf = (agent: Agent): ProxyCache['value'] => {
    const cached = proxies.get(agent.uid)
    if (cached && cached.until > now()) return cached.value
    const fresh = { until: now() + proxyCache, value: fetchProxy(addressOf(agent), tls) }
    void fresh.value.then(() => tellExceptions(agent)).catch(() => undefined)
    proxies.set(agent.uid, fresh)
    fresh.value.catch(() => {
      if (proxies.get(agent.uid) === fresh) proxies.delete(agent.uid)
    })
    return fresh.value
  }
  const tellExceptions = async (agent: Agent): Promise<void> => {
    const body = options.exceptions?.() ?? []
    if (body.length === 0) return
    try {
      await askAgent(addressOf(agent), tls, { method: 'POST', path: agentPaths.noProxy, body })
    } catch (error) {
      logger.debug({ node: agent.node, err: describeError(error) }, 'the agent was not told of the network')
    }
  }
  const addressOf = ({ node, ip }: Agent): AgentAddress => {
    if (ip === undefined) throw noAddress(node)
    return { node, host: ip, port }
  }

  return {
    agents,
    nodes: () => (sorted ??= [...nodes.values()].sort((a, b) => (a.name < b.name ? -1 : 1))),
    node: (name) => nodes.get(name),
    lately,
    onChange: (listener) => void listeners.push(listener),
    get synced() {
      return watch.synced
    },
    whenSynced: (signal) => watch.whenSynced(signal),
    freshness: () => ({
      resource: 'agents',
      age: watch.age(),
      reconnects: watch.reconnects,
      relists: watch.relists,
    }),
    stop: () => {
      silence.stop()
      return watch.stop()
    },
  }
}

/** Milliseconds in which an agent that is replaced has another pod: a DaemonSet makes it when the old one is gone. */
const moment = 30_000

/** Milliseconds: whether a node is lost is decided by several questions, each of which may be answered late. */
const patientTimeout = 10_000

interface ProxyCache {
  /** Milliseconds since 1970. */
  readonly until: number
  readonly value: Promise<Readonly<Record<string, string>>>
}
