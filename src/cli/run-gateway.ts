import { clusterGateway, type GatewayConfig, gatewayConfig, transparentGateway } from '../api/config.ts'
import { processEnv } from '../kernel/config/env.ts'
import { createActivity } from '../gateway/correlate/activity.ts'
import { createFixedDirectory, type FixedNode } from '../gateway/directory/fixed.ts'
import { createGateway, type Gateway } from '../gateway/gateway.ts'
import { type Address, formatAddress, parseAddress } from '../gateway/listener/address.ts'
import { collectorOf } from '../gateway/telemetry/collector.ts'
import { createSpanExporter, type SpanExporter } from '../gateway/telemetry/spans.ts'
import { createFixedPlacer } from '../gateway/placement/fixed.ts'
import { parseToml } from '../kernel/config/toml.ts'
import { describeError, UsageError } from '../kernel/errors.ts'
import { createLogger, type Logger } from '../kernel/log.ts'
import { aborted } from '../kernel/process/termination.ts'
import { type ProbeOptions, type Probes, serveProbes } from '../kernel/probes.ts'
import { mountedPolicy, policyParts } from './gateway-policy.ts'
import { clusterParts, type GatewayParts } from './cluster-gateway.ts'

export interface RunGatewayOptions {
  readonly addresses: readonly Address[]
  /** `NAME=ADDRESS`; none: the nodes of the Kubernetes cluster this runs in. */
  readonly nodes: readonly string[]
  readonly config: { readonly name: string; readonly text: string } | undefined
  /** policy.toml; without one a gateway with fixed nodes lets everybody do everything. */
  readonly policy?: string | undefined
  readonly probes: { readonly port: number } | undefined
  readonly logLevel: string
}

/**
 * Runs a gateway until it is told to stop by SIGTERM or SIGINT. A second signal does not wait for builds. Signals and
 * probes are served from the start: a gateway may wait for its CA for long, and as the first process of a container it
 * would not even get a signal that it does not listen for.
 */
export async function runGateway(options: RunGatewayOptions): Promise<void> {
  const logger = createLogger({ level: options.logLevel, bindings: { role: 'gateway' } })
  const table = options.config ? parseToml(options.config.text, options.config.name) : {}
  const fixed = options.nodes.length > 0
  const config = gatewayConfig(
    table,
    fixed ? { ...transparentGateway, recordOwner: options.policy !== undefined } : clusterGateway,
  )
  const state: State = { waitingFor: 'this gateway is starting', parts: undefined, gateway: undefined }
  const signals = watchSignals()
  let probes: Probes | undefined
  try {
    probes = options.probes && (await serveProbes({ ...options.probes, ...answers(state) }))
    // For who has asked for any port.
    if (options.probes?.port === 0) logger.info({ port: probes?.port }, 'serving probes')
    state.parts = fixed
      ? await fixedParts(options, logger)
      : await partsOfCluster(state, signals.stop, logger, options, config)
    if (!state.parts) return
    state.gateway = await createGateway({
      listen: options.addresses,
      config,
      logger,
      spans: spansTo(logger),
      ...state.parts,
    })
    logger.info({ addresses: state.gateway.addresses.map(formatAddress) }, 'listening')
    const grace = { grace: config.maxBuildDuration * 1000, settle: fixed ? 0 : settleTime }
    await untilStopped(state.gateway, grace, signals, (message) => logger.info(message))
  } finally {
    await state.parts?.close?.()
    await probes?.close()
    signals.close()
  }
}

/** Traces go where the environment says, or nowhere. */
function spansTo(logger: Logger): SpanExporter | undefined {
  const collector = collectorOf(processEnv())
  return collector && createSpanExporter({ collector, logger })
}

/**
 * Milliseconds after SIGTERM in which clients may still arrive: nodes forget a pod that leaves one after the other, and
 * the pod's preStop hook has waited for most of them.
 */
const settleTime = 3000

interface State {
  /** Why there is no gateway yet. */
  waitingFor: string
  parts: GatewayParts | undefined
  gateway: Gateway | undefined
}

const answers = (state: State): Pick<ProbeOptions, 'notReady' | 'detail' | 'metrics'> => ({
  notReady: () => (state.gateway ? (state.gateway.refusing() ?? state.parts?.notReady?.()) : state.waitingFor),
  detail: () => state.parts?.detail?.(),
  metrics: () => (state.gateway?.metrics() ?? '') + (state.parts?.metrics?.() ?? ''),
})

/** @returns undefined when it was told to stop while it waited. */
async function partsOfCluster(
  state: State,
  stop: AbortSignal,
  logger: Logger,
  options: RunGatewayOptions,
  config: GatewayConfig,
): Promise<GatewayParts | undefined> {
  state.waitingFor = 'the CA of this cluster is not there yet'
  const onFailure = (error: unknown): void => void (state.waitingFor = `there is no CA yet: ${describeError(error)}`)
  try {
    const policy = options.policy ?? mountedPolicy
    return await clusterParts(processEnv(), logger, { signal: stop, onFailure }, policy, config)
  } catch (error) {
    if (!stop.aborted) throw error
    logger.info('stopped before there was a CA')
    return undefined
  }
}

async function fixedParts({ nodes, policy: file }: RunGatewayOptions, logger: Logger): Promise<GatewayParts> {
  const directory = createFixedDirectory(parseNodes(nodes))
  const activity = createActivity()
  const placer = createFixedPlacer({ directory, running: (node) => activity.on(node) })
  if (file === undefined) return { directory, activity, placer }
  const policy = await policyParts({ file, directory, logger })
  const { admission, turns } = policy
  return {
    ...{ directory, activity, placer, admission, turns },
    detail: () => policy.problem(),
    metrics: () => policy.metrics(),
    close: () => Promise.resolve(policy.close()),
  }
}

/** @throws UsageError */
export function parseNodes(texts: readonly string[]): FixedNode[] {
  const nodes = texts.map((text) => {
    const match = /^([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)=(.+)$/.exec(text)
    if (!match) {
      throw new UsageError(`--node "${text}" is not NAME=ADDRESS`, {
        fix: 'write --node worker-1=unix:///run/buildkit/buildkitd.sock; names are lower case letters, digits, - and .',
      })
    }
    const address = parseAddress(match[2] as string)
    if (address.kind === 'tcp' && (address.host === '' || address.port === 0)) {
      throw new UsageError(`--node "${text}" needs a host and a port`, { fix: 'write tcp://HOST:PORT' })
    }
    return { name: match[1] as string, address }
  })
  const twice = nodes.find((node, i) => nodes.some((other, j) => j < i && other.name === node.name))
  if (twice) throw new UsageError(`--node ${twice.name} is given twice`, { fix: 'give every node a name of its own' })
  return nodes
}

async function untilStopped(
  gateway: Gateway,
  { grace, settle }: { readonly grace: number; readonly settle: number },
  { stop, now }: Signals,
  say: (message: string) => void,
): Promise<void> {
  await aborted(stop)
  say('stopping: no new clients, builds of those that are here finish')
  await Promise.race([gateway.drain(grace, settle), aborted(now)])
  await gateway.close()
  say('stopped')
}

interface Signals {
  /** Aborts at the first SIGTERM or SIGINT. */
  readonly stop: AbortSignal
  /** Aborts at the second one. */
  readonly now: AbortSignal
  close(): void
}

function watchSignals(): Signals {
  const [stop, now] = [new AbortController(), new AbortController()]
  const names = ['SIGTERM', 'SIGINT'] as const
  const onSignal = (name: NodeJS.Signals): void =>
    (stop.signal.aborted ? now : stop).abort(new Error(`the process received ${name}`))
  for (const name of names) process.on(name, onSignal)
  return {
    stop: stop.signal,
    now: now.signal,
    close() {
      for (const name of names) process.off(name, onSignal)
    },
  }
}
