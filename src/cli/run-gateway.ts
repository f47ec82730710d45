import { clusterGateway, gatewayConfig, transparentGateway } from '../api/config.ts'
import { processEnv } from '../kernel/config/env.ts'
import { createActivity } from '../gateway/correlate/activity.ts'
import { createFixedDirectory, type FixedNode } from '../gateway/directory/fixed.ts'
import { createGateway, type Gateway } from '../gateway/gateway.ts'
import { type Address, formatAddress, parseAddress } from '../gateway/listener/address.ts'
import { createFixedPlacer } from '../gateway/placement/fixed.ts'
import { parseToml } from '../kernel/config/toml.ts'
import { UsageError } from '../kernel/errors.ts'
import { createLogger } from '../kernel/log.ts'
import { clusterParts, type GatewayParts } from './cluster-gateway.ts'

export interface RunGatewayOptions {
  readonly addresses: readonly Address[]
  /** `NAME=ADDRESS`; none: the nodes of the Kubernetes cluster this runs in. */
  readonly nodes: readonly string[]
  readonly config: { readonly name: string; readonly text: string } | undefined
  readonly probes: { readonly port: number } | undefined
  readonly logLevel: string
}

/** Runs a gateway until it is told to stop by SIGTERM or SIGINT. A second signal does not wait for builds. */
export async function runGateway(options: RunGatewayOptions): Promise<void> {
  const logger = createLogger({ level: options.logLevel, bindings: { role: 'gateway' } })
  const fixed = options.nodes.length > 0
  const table = options.config ? parseToml(options.config.text, options.config.name) : {}
  const config = gatewayConfig(table, fixed ? transparentGateway : clusterGateway)
  const parts = fixed ? fixedParts(options.nodes) : await clusterParts(processEnv(), logger)
  try {
    const gateway = await createGateway({ listen: options.addresses, config, logger, probes: options.probes, ...parts })
    logger.info({ addresses: gateway.addresses.map(formatAddress) }, 'listening')
    await untilStopped(gateway, config.maxBuildDuration * 1000, (message) => logger.info(message))
  } finally {
    await parts.close?.()
  }
}

function fixedParts(nodes: readonly string[]): GatewayParts {
  const directory = createFixedDirectory(parseNodes(nodes))
  const activity = createActivity()
  return { directory, activity, placer: createFixedPlacer({ directory, running: (node) => activity.on(node) }) }
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

async function untilStopped(gateway: Gateway, grace: number, say: (message: string) => void): Promise<void> {
  const signals = ['SIGTERM', 'SIGINT'] as const
  let stop: () => void = () => undefined
  const signal = (): Promise<void> => new Promise((resolve) => (stop = resolve))
  const onSignal = (): void => stop()
  for (const name of signals) process.on(name, onSignal)
  try {
    await signal()
    say('stopping: no new builds, running ones finish')
    await Promise.race([gateway.drain(grace), signal()])
    await gateway.close()
    say('stopped')
  } finally {
    for (const name of signals) process.off(name, onSignal)
  }
}
