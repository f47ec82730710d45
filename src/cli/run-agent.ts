import { hostname } from 'node:os'
import { type Agent, createAgent } from '../agent/agent.ts'
import type { AgentOptions, FrontSettings } from '../agent/options.ts'
import { allGateways } from './all-gateways.ts'
import { annotatePod } from '../agent/report/annotate.ts'
import { certificatePath, spiffe } from '../api/certificate.ts'
import { configMaps, namespace as defaultNamespace, ports, serviceAccounts, serviceName } from '../api/names.ts'
import { agentConfig } from '../api/agent-config.ts'
import { type Env, processEnv } from '../kernel/config/env.ts'
import { parseToml } from '../kernel/config/toml.ts'
import { readProxyDirectory } from './proxy-directory.ts'
import { InsituError } from '../kernel/errors.ts'
import { readOptional } from '../kernel/fs/read-optional.ts'
import { type ClusterClient, inClusterClient } from '../kernel/k8s/in-cluster.ts'
import { createLogger, type Logger } from '../kernel/log.ts'
import { type Probes, serveProbes } from '../kernel/probes.ts'
import type { TlsSource } from '../kernel/tls/material.ts'

export interface AgentFlags {
  readonly config: string
  readonly insituConfig: string
  readonly root: string
  readonly runDirectory: string
  readonly rootless?: true
  readonly containerdAddress?: string
  readonly containerdNamespace: string
  readonly snapshotter?: string
  readonly node?: string
  readonly listen: number
  readonly mirror: number
  readonly probes: number
  /** Seconds. */
  readonly drain?: number
  readonly emulators?: string
  readonly logLevel: string
}

/** Seconds. As long as gateways wait for their builds, and less than the pod is given, see src/cli/manifests/agent.ts. */
const longestBuild = 7200

/** The projected token for the gateway, as the manifests mount it. */
const tokenFile = '/var/run/secrets/insitu.build/token'

/** Runs an agent until SIGTERM or SIGINT, then puts the host back. */
export async function runAgentCommand(flags: AgentFlags): Promise<void> {
  const env = processEnv()
  const node = flags.node ?? env['NODE_NAME'] ?? hostname()
  const log = createLogger({ level: flags.logLevel, bindings: { role: 'agent', node } })
  const client = inClusterClient(env)
  const ending = new AbortController()
  const now = new AbortController()
  const pod = { namespace: env['POD_NAMESPACE'] ?? defaultNamespace, name: env['POD_NAME'] ?? '' }
  const gateways =
    client && flags.listen > 0
      ? front({ client, env, log, port: flags.listen, namespace: pod.namespace, signal: ending.signal })
      : undefined
  const options: AgentOptions = {
    node,
    env,
    log,
    rootless: flags.rootless === true,
    root: flags.root,
    runDirectory: flags.runDirectory,
    namespace: flags.containerdNamespace,
    containerdAddress: flags.containerdAddress,
    snapshotter: flags.snapshotter,
    ...(flags.emulators === undefined ? {} : { emulators: flags.emulators }),
    readConfig: () => readOptional(flags.config),
    readProxy: () => readProxyDirectory(),
    intervals: { drain: (flags.drain ?? (client ? longestBuild : 0)) * 1000 },
    now: now.signal,
    config: agentConfig(parseToml((await readOptional(flags.insituConfig)) ?? '', 'insitu.toml')),
    ...(client && pod.name !== '' ? { report: (report) => annotatePod(client, pod, report) } : {}),
    ...(gateways ? { front: gateways } : {}),
    ...(gateways && flags.mirror > 0 && !flags.rootless
      ? { mirror: { port: flags.mirror, gateways: allGateways(gateways.tls, pod.namespace, env) } }
      : {}),
  }
  const agent = createAgent(options)
  let told = false
  const stop = (): void => {
    if (told) now.abort(new Error('the agent was told to stop at once'))
    told = true
    void agent.stop().catch(() => undefined)
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
  let probes: Probes | undefined
  try {
    probes =
      flags.probes > 0
        ? await serveProbes({ port: flags.probes, notReady: agent.notReady, metrics: agent.metrics })
        : undefined
    await agent.done
  } finally {
    ending.abort(new Error('the agent has ended'))
    await shutDown(agent, probes)
    process.off('SIGTERM', stop)
    process.off('SIGINT', stop)
    endSoon(log)
  }
}

/** A pod whose process stays would keep its node from the next agent for as long as builds may be drained. */
function endSoon(log: Logger): void {
  const end = (): never => {
    log.error(
      { resources: process.getActiveResourcesInfo() },
      'the agent has ended and its process has not: it does now',
    )
    process.exit()
  }
  setTimeout(end, 10_000).unref()
}

async function shutDown(agent: Agent, probes: Probes | undefined): Promise<void> {
  await probes?.close()
  await agent.stop()
}

interface FrontParts {
  readonly client: ClusterClient
  readonly env: Env
  readonly log: Logger
  readonly port: number
  readonly namespace: string
  readonly signal: AbortSignal
}

/** The mTLS port: its certificate comes from a gateway, which may start later than this agent. */
function front({ client, env, log, port, namespace, signal }: FrontParts): FrontSettings {
  const obtain = async (): Promise<TlsSource> => {
    const [{ renewingTls }, { requestCertificate }] = await Promise.all([
      import('../kernel/tls/renewing.ts'),
      import('../kernel/tls/request.ts'),
    ])
    const gateway = {
      host: env['INSITU_GATEWAY_HOST'] ?? `${serviceName}.${namespace}.svc`,
      port: ports.clients,
      path: certificatePath,
      tokenFile,
      loadCa: (abort: AbortSignal) => loadCa(client, namespace, abort),
    }
    const trust = { load: gateway.loadCa, every: 300_000 }
    return renewingTls({ obtain: (abort) => requestCertificate(gateway, abort), trust, log, signal })
  }
  return {
    port,
    tls: obtain(),
    client: spiffe(namespace, serviceAccounts.gateway),
    peer: spiffe(namespace, serviceAccounts.agent),
  }
}

async function loadCa(client: ClusterClient, namespace: string, signal: AbortSignal): Promise<string> {
  const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/configmaps/${configMaps.ca}`
  const found = (await client.call({ method: 'GET', path, signal })) as { data?: Record<string, string> } | undefined
  const ca = found?.data?.['ca.crt']
  if (!ca) throw new InsituError('CA_MISSING', 'no gateway has published the CA yet', { status: 'UNAVAILABLE' })
  return ca
}
