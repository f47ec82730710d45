import { InsituError } from '../kernel/errors.ts'
import { decodeBounded } from './decode.ts'
import type { SolveRequest } from './gen/control_pb.ts'
import type { SolveRequest as BridgeSolveRequest } from './gen/gateway_pb.ts'
import { type ReturnRequest, ReturnRequestSchema } from './gen/gateway_pb.ts'
import { type LlbFacts, readLlb } from './llb.ts'

/** An exporter of a Solve as a policy sees it. */
export interface ExporterFacts {
  readonly type: string
  /** Names as the client wrote them, that it stores or pushes; `*` among them when a frontend may choose. */
  readonly names: readonly string[]
}

/** Everything in a request that a policy decides on. */
export interface RequestFacts {
  readonly exporters: readonly ExporterFacts[]
  /** The daemon asks the client for exporters later, when nobody can look at them. */
  readonly sessionExporter: boolean
  /** `network.host`, `security.insecure`, `device=…` */
  readonly entitlements: readonly string[]
  /** `llb` for raw operations, `dockerfile.v0`, `gateway.v0:SOURCE`. */
  readonly frontends: readonly string[]
  readonly platforms: readonly string[]
  readonly cacheTo: readonly string[]
  readonly cacheFrom: readonly string[]
  /** Names that a client's result gives to its image by metadata. */
  readonly resultNames: readonly string[]
  readonly llb: LlbFacts
}

type Options = Readonly<Record<string, string>>
type Definitions = readonly ({ readonly def: readonly Uint8Array[] } | undefined)[]

/** @throws InsituError LLB_MALFORMED */
export function factsOfSolve(request: SolveRequest): RequestFacts {
  // Both spellings, although a daemon of today reads the old one only when the new one is empty.
  const exporters = [
    ...request.exporters,
    ...(request.exporterDeprecated === ''
      ? []
      : [{ type: request.exporterDeprecated, attrs: request.exporterAttrsDeprecated }]),
  ]
  const { cache } = request
  const definitions = [request.definition, ...Object.values(request.frontendInputs)]
  return {
    exporters: exporters.map(({ type, attrs }) => ({ type, names: namesOf(type, attrs) })),
    sessionExporter: request.enableSessionExporter,
    entitlements: request.entitlements,
    ...factsOfFrontend(request.frontend, request.frontendAttrs, definitions),
    cacheTo: [...(cache?.exports ?? []).map((e) => e.type), ...(cache?.exportRefDeprecated ? ['registry'] : [])],
    cacheFrom: [
      ...(cache?.imports ?? []).map((e) => e.type),
      ...(cache?.importRefsDeprecated ?? []).map(() => 'registry'),
      ...cacheOfOptions(request.frontendAttrs),
    ],
    resultNames: [],
  }
}

/** Facts of LLBBridge/Solve. @throws InsituError LLB_MALFORMED */
export function factsOfBridgeSolve(request: BridgeSolveRequest): RequestFacts {
  const definitions = [request.definition, ...Object.values(request.frontendInputs)]
  return {
    exporters: [],
    sessionExporter: false,
    entitlements: [],
    ...factsOfFrontend(request.frontend, request.frontendOpt, definitions),
    cacheTo: [],
    cacheFrom: [...request.cacheImports.map((e) => e.type), ...cacheOfOptions(request.frontendOpt)],
    resultNames: request.exporterAttr.length === 0 ? [] : namesOfJson(request.exporterAttr),
  }
}

/** @throws InsituError RETURN_MALFORMED, MESSAGE_FIELDS */
export function decodeReturn(message: Uint8Array): ReturnRequest {
  try {
    return decodeBounded(ReturnRequestSchema, message)
  } catch (cause) {
    if (cause instanceof InsituError) throw cause
    throw new InsituError('RETURN_MALFORMED', 'the Return request cannot be read', {
      status: 'INVALID_ARGUMENT',
      cause,
    })
  }
}

/** Names in the metadata of LLBBridge/Return, which an image exporter with `name=*` would take. */
export function namesOfReturn(request: ReturnRequest): string[] {
  const name = request.result?.metadata[resultName]
  return name === undefined ? [] : split(Buffer.from(name).toString('utf8'))
}

/** Source: BuildKit v0.33.1, exporter/containerimage/export.go. */
const resultName = 'image.name'
const split = (names: string): string[] => names.split(',').map((name) => name.trim())

/**
 * `name` may list several; a prefix for nameless images makes names below it. Images that go to the client (`oci`,
 * `docker`) carry a name that only the client sees.
 */
function namesOf(type: string, attrs: Options): string[] {
  if (type !== 'image') return []
  const name = attrs['name'] ?? ''
  const dangling = attrs['dangling-name-prefix'] ?? ''
  return [...(name === '' ? [] : split(name)), ...(dangling === '' ? [] : [dangling])]
}

function namesOfJson(json: Uint8Array): string[] {
  try {
    const value = (JSON.parse(Buffer.from(json).toString('utf8')) as Record<string, unknown>)[resultName]
    return typeof value === 'string' ? split(Buffer.from(value, 'base64').toString('utf8')) : []
  } catch {
    // The daemon refuses it as well.
    return []
  }
}

function factsOfFrontend(
  frontend: string,
  options: Options,
  definitions: Definitions,
): Pick<RequestFacts, 'frontends' | 'platforms' | 'llb'> {
  const given = definitions.flatMap((d) => (d && d.def.length > 0 ? [d.def] : []))
  const llb = readLlb(given)
  const syntax = options['build-arg:BUILDKIT_SYNTAX']
  const frontends = [
    ...(given.length > 0 ? ['llb'] : []),
    ...(frontend === '' ? [] : frontend === gateway ? [`${gateway}:${sourceOf(options)}`] : [frontend]),
    // The Dockerfile frontend, the daemon's own or that of an image, hands over to the image that this names, unless a
    // command line says it has been handed to.
    ...(frontend !== '' && syntax !== undefined && options['cmdline'] === undefined
      ? [`${gateway}:${syntax.trim().split(' ')[0] ?? ''}`]
      : []),
  ]
  const asked = (options['platform'] ?? '').split(',').flatMap((p) => (p.trim() === '' ? [] : [p.trim()]))
  return { frontends, platforms: [...new Set([...asked, ...llb.platforms])], llb }
}

export const gateway = 'gateway.v0'

/** In its development mode the frontend is not the named image but whatever an input holds. */
const sourceOf = (options: Options): string => (options['gateway-devel'] === undefined ? (options['source'] ?? '') : '')

/** Go reads the keys of JSON objects in any case. */
function typesOf(entry: unknown): string[] {
  if (typeof entry !== 'object' || entry === null) return ['']
  return Object.entries(entry).flatMap(([key, value]) => (key.toLowerCase() === 'type' ? [String(value)] : []))
}

/** Frontends read caches from their options too. Source: BuildKit v0.33.1, frontend/dockerui/config.go. */
function cacheOfOptions(options: Options): string[] {
  const json = options['cache-imports']
  const legacy = options['cache-from'] ? ['registry'] : []
  if (json === undefined) return legacy
  try {
    const entries = JSON.parse(json) as unknown
    if (!Array.isArray(entries)) return legacy
    return [...legacy, ...entries.flatMap(typesOf)]
  } catch {
    return [...legacy, '']
  }
}
