import type { SolveRequest } from '../../buildkit/gen/control_pb.ts'
import { wantsFullProvenance } from '../../buildkit/provenance.ts'
import { shownProxy } from '../../buildkit/proxy-url.ts'
import { type ProxyChoice, type ProxyVariables } from '../../buildkit/proxy.ts'
import { effectiveProxy } from '../../buildkit/solve.ts'
import { describeError } from '../../kernel/errors.ts'
import type { BuildNode } from '../directory/directory.ts'
import { callerNamespace } from '../listener/caller.ts'
import { joinSources } from '../proxy/sources.ts'
import { isRootless } from './choose.ts'
import type { Build, RelayContext } from './context.ts'

type ProxyBuild = Pick<Build, 'node' | 'proxy' | 'placement' | 'caller'>

/**
 * The proxy variables that insitu has for a build, without the client's own; undefined where it has no say.
 * @throws InsituError PROXY_URL for one that is no address.
 */
export async function proxyOf(context: RelayContext, build: ProxyBuild): Promise<ProxyChoice> {
  const { node, proxy, placement, caller } = build
  if (!context.config.proxy || !placement) return undefined
  if (proxy.off) return 'off'
  const { proxies } = context
  const variables = await variablesOf(context, node)
  return joinSources(node.name, variables, proxies.sources(callerNamespace(caller)), proxies.exceptions())
}

/**
 * The variables with which the gateway itself asks registries for a build: as a daemon that pushes, the agent's and the
 * install's. Those of the gateway's own environment win. Those of namespaces and clients are for steps.
 * @throws InsituError PROXY_URL for one that is no address.
 */
export async function registryProxies(context: RelayContext, node: BuildNode): Promise<ProxyVariables> {
  const { proxies } = context
  const own = { name: "the gateway's variable", variables: proxies.own }
  // The daemon of a rootless node has its agent's environment alone.
  const sources = [...(isRootless(node) ? [] : proxies.sources(undefined)), own]
  return joinSources(node.name, await variablesOf(context, node), sources, proxies.exceptions())
}

/** What a step of a build has in the end, the client's own included. */
export async function effectiveProxyOf(context: RelayContext, build: ProxyBuild): Promise<ProxyVariables> {
  const options = Object.entries(build.proxy.own).map(([name, value]) => [`build-arg:${name}`, value])
  return effectiveProxy(await proxyOf(context, build), Object.fromEntries(options) as ProxyVariables)
}

/** The variables for one LLBBridge/Solve: those of the build, its client's own among them. */
export async function bridgeProxy(context: RelayContext, build: ProxyBuild): Promise<ProxyChoice> {
  const choice = await proxyOf(context, build)
  return typeof choice === 'object' ? effectiveProxyOf(context, build) : choice
}

/** Tells the client that its provenance will be the short one, if so. @returns whether it did. */
export function sayProvenance({ progress }: Build, choice: ProxyChoice, { frontendAttrs }: SolveRequest): boolean {
  if (!wantsFullProvenance(frontendAttrs)) return false
  if (Object.keys(effectiveProxy(choice, frontendAttrs)).length === 0) return false
  progress
    .step(
      '[insitu] provenance is mode=min: mode=max would hold the proxy variables; insitu.proxy=off builds without them',
    )
    .done()
  return true
}

/**
 * Warns the client of proxies that its steps will have and that do not answer, as the agent of the node says: what the
 * steps say themselves is each program's own sentence.
 */
export function sayUnreachable({ node, progress }: Pick<Build, 'node' | 'progress'>, choice: ProxyChoice): void {
  const proxies = typeof choice === 'object' ? Object.entries(choice) : []
  for (const { code, message } of node.report?.findings ?? []) {
    const used = (): boolean =>
      proxies.some(([name, value]) => value !== '' && message.includes(shownProxy(name, value)))
    if (code === 'PROXY_UNREACHABLE' && used()) progress.step(`[insitu] node ${node.name}: ${message}`).done()
  }
}

async function variablesOf(context: RelayContext, node: BuildNode): Promise<ProxyVariables> {
  try {
    return await node.proxy()
  } catch (error) {
    // A build that needs no network should not fail for it; one that does says so itself.
    context.logger.warn({ node: node.name, err: describeError(error) }, 'the proxy variables of the node are unknown')
    return {}
  }
}
