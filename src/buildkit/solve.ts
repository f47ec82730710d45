import { clone, equals, toBinary } from '@bufbuild/protobuf'
import { decodeBounded } from './decode.ts'
import type { FieldBudget } from './field-budget.ts'
import { effectiveExporters, exportedImages, firstRepository, onlyStays, withImageDefaults } from './exporters.ts'
import { type SolveRequest, SolveRequestSchema } from './gen/control_pb.ts'
import { type SolveRequest as BridgeSolveRequest, SolveRequestSchema as BridgeSolveSchema } from './gen/gateway_pb.ts'
import { recordAttributes } from './history.ts'
import type { Definition } from './gen/ops_pb.ts'
import { type Hints, readHints, withoutHints } from './hints.ts'
import { sessionsOfOptions } from './named-sessions.ts'
import { withProxyEnv } from './llb-proxy.ts'
import { withMinimalProvenance } from './provenance.ts'
import {
  mergeProxies,
  type ProxyChoice,
  proxyOfOptions,
  type ProxyVariables,
  withoutProxies,
  withProxy,
} from './proxy.ts'
import { InsituError } from '../kernel/errors.ts'

/** What the gateway adds to a build. With both switched off only our own hints are taken out. */
export interface Rewrite {
  /** Fill in what makes images usable on their node. */
  readonly defaults: boolean
  /** Proxy variables for RUN steps. */
  readonly proxy: ProxyChoice
  /** Whose build it is, for the daemon's record of it. */
  readonly owner?: string | undefined
  /** The platforms, where others are built on other nodes; for the daemon's record too. */
  readonly part?: readonly string[] | undefined
}

/** What a Solve says about where it should go. */
export interface SolveFacts {
  readonly ref: string
  /** Sessions the build needs, those it may share with other builds first, its own last. */
  readonly sessions: readonly string[]
  /** Normalised names the build leaves on its node. */
  readonly images: readonly string[]
  readonly platforms: readonly string[]
  /** Tells builds with a common cache apart from others; empty when nothing is known. */
  readonly cacheKey: string
  /** An image is only to stay on the node: it is not pushed. */
  readonly stays: boolean
  /** Something becomes of the result besides cache. */
  readonly exports: boolean
  /** A question of the client to the daemon (buildx asks for its abilities so), not a build. */
  readonly probe: boolean
}

/** @throws InsituError SOLVE_MALFORMED, MESSAGE_FIELDS */
export function decodeSolve(message: Uint8Array, budget?: FieldBudget): SolveRequest {
  try {
    return decodeBounded(SolveRequestSchema, message, budget)
  } catch (error) {
    throw malformed(error)
  }
}

export const encodeSolve = (request: SolveRequest): Uint8Array => toBinary(SolveRequestSchema, request)

export function solveFacts(request: SolveRequest): SolveFacts {
  const exporters = effectiveExporters(request)
  return {
    ref: request.ref,
    sessions: sessionsOf(request),
    images: exportedImages(exporters),
    platforms: (request.frontendAttrs['platform'] ?? '').split(',').filter((p) => p !== ''),
    cacheKey: firstRepository(exporters) ?? request.frontendAttrs['context'] ?? '',
    stays: onlyStays(exporters),
    exports: exporters.length > 0,
    probe: request.internal && !buildsSomething(request),
  }
}

/** Whether a Solve makes anything by itself. One that does not may still be driven by its client. */
function buildsSomething(request: SolveRequest): boolean {
  const { definition, cache } = request
  if (request.frontend !== '' || effectiveExporters(request).length > 0) return true
  if (definition !== undefined && definition.def.length > 0) return true
  return cache !== undefined && (cache.exports.length > 0 || cache.exportRefDeprecated !== '')
}

/** What the client asks of insitu, wherever it could say it. @throws InsituError HINT */
export const solveHints = (request: SolveRequest): Hints =>
  readHints(request.frontendAttrs, ...effectiveExporters(request).map((e) => e.attrs))

/** @throws InsituError IMAGE_NAME for an image that nothing could find by its name. */
export function checkImageNames(request: SolveRequest): void {
  for (const { type, attrs } of effectiveExporters(request)) if (type === 'image') withImageDefaults(attrs)
}

/** `bake` opens one session for contexts that several builds have in common, and names it in their options. */
function sessionsOf(request: SolveRequest): string[] {
  const shared = sessionsOfOptions(request.frontendAttrs)
  const others = new Set([...shared.toSorted(), request.sourcePolicySession])
  others.delete(request.session)
  return [...others, request.session].filter((id) => id !== '')
}

/**
 * The request as the daemon gets it, encoded; fields that insitu does not know stay in it.
 * @throws InsituError IMAGE_NAME when defaults are on and an image could not be found by its name
 * @returns undefined when there is nothing to change, so that the client's own bytes can be sent.
 */
export function rewriteSolve(request: SolveRequest, rewrite: Rewrite): Uint8Array | undefined {
  const changed = clone(SolveRequestSchema, request)
  changed.frontendAttrs = frontendOptions(request.frontend, request.frontendAttrs, rewrite)
  // A client that runs the frontend itself gives the options that count to LLBBridge/Solve. Those here only go into the
  // daemon's history, where the credentials of a proxy would be for everybody to read.
  if (request.frontend === '' && rewrite.proxy !== undefined) {
    changed.frontendAttrs = withoutProxies(changed.frontendAttrs)
  }
  const proxy = effectiveProxy(rewrite.proxy, request.frontendAttrs)
  if (rewrite.owner !== undefined) {
    changed.frontendAttrs[recordAttributes.owner] = rewrite.owner
    if (Object.keys(proxy).length > 0) changed.frontendAttrs[recordAttributes.proxy] = 'true'
  }
  if (rewrite.part) changed.frontendAttrs[recordAttributes.part] = rewrite.part.join(',')
  giveProxy(changed, proxy)
  const attributes = (type: string, attrs: Record<string, string>): Record<string, string> => {
    const ours = withoutHints(attrs)
    return rewrite.defaults && type === 'image' ? withImageDefaults(ours) : ours
  }
  for (const exporter of changed.exporters) exporter.attrs = attributes(exporter.type, exporter.attrs)
  changed.exporterAttrsDeprecated = attributes(request.exporterDeprecated, request.exporterAttrsDeprecated)
  return equals(SolveRequestSchema, changed, request) ? undefined : toBinary(SolveRequestSchema, changed)
}

/** LLBBridge/Solve. @throws InsituError SOLVE_MALFORMED, MESSAGE_FIELDS */
export function decodeBridgeSolve(message: Uint8Array, budget?: FieldBudget): BridgeSolveRequest {
  try {
    return decodeBounded(BridgeSolveSchema, message, budget)
  } catch (error) {
    throw malformed(error)
  }
}

/**
 * The same for LLBBridge/Solve, whose options are those that reach the frontend when the client drives the build.
 * Without a frontend its options mean nothing and are left alone; its graph gets the proxy. Changes the request it is given.
 */
export function rewriteBridgeSolve(request: BridgeSolveRequest, rewrite: Rewrite): Uint8Array {
  const before = request.frontendOpt
  if (request.frontend !== '') request.frontendOpt = frontendOptions(request.frontend, before, rewrite)
  giveProxy(request, effectiveProxy(rewrite.proxy, before))
  return toBinary(BridgeSolveSchema, request)
}

/**
 * The variables that steps of a build have in the end, the client's own included. Names in upper case.
 * @param options frontend options of the client.
 */
export function effectiveProxy(choice: ProxyChoice, options: ProxyVariables): ProxyVariables {
  if (choice === undefined || choice === 'off') return {}
  return mergeProxies(choice, proxyOfOptions(options))
}

interface Graphs {
  definition?: Definition | undefined
  frontendInputs: Record<string, Definition>
}

/** RUN steps of graphs that clients bring along themselves. */
function giveProxy(request: Graphs, proxy: ProxyVariables): void {
  if (request.definition) request.definition = withProxyEnv(request.definition, proxy)
  for (const [name, graph] of Object.entries(request.frontendInputs)) {
    request.frontendInputs[name] = withProxyEnv(graph, proxy)
  }
}

function frontendOptions(
  frontend: string,
  options: Record<string, string>,
  { proxy, defaults }: Rewrite,
): Record<string, string> {
  const given = frontend === '' ? { ...withoutHints(options) } : withProxy(withoutHints(options), frontend, proxy)
  const hasProxy = Object.keys(effectiveProxy(proxy, options)).length > 0
  const ours = hasProxy ? withMinimalProvenance(given) : given
  // FROM an image that is on the node must not ask a registry first; `pull` and other choices of the client win.
  if (defaults && ours['image-resolve-mode'] === undefined) ours['image-resolve-mode'] = 'local'
  return ours
}

const malformed = (cause: unknown): InsituError =>
  cause instanceof InsituError
    ? cause
    : new InsituError('SOLVE_MALFORMED', 'the Solve request cannot be read', { status: 'INVALID_ARGUMENT', cause })
