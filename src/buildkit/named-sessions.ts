import { toBinary } from '@bufbuild/protobuf'
import { decodeBounded } from './decode.ts'
import type { SolveRequest } from './gen/control_pb.ts'
import type { SolveRequest as BridgeSolveRequest } from './gen/gateway_pb.ts'
import { ResolveImageConfigRequestSchema, ResolveSourceMetaRequestSchema } from './gen/gateway_pb.ts'
import type { SourcePolicy } from './gen/ops_pb.ts'
import { readSourceAttrs } from './llb.ts'
import { paths } from './methods.ts'

type Options = Readonly<Record<string, string>>
type Definitions = readonly ({ readonly def: readonly Uint8Array[] } | undefined)[]

/** Of a source: the session that a local directory or an OCI layout comes from. BuildKit v0.33.1, solver/pb/attr.go. */
const attributes = new Set(['local.session', 'oci.session'])

const ofAttributes = (entries: Iterable<readonly [string, string]>): string[] =>
  [...entries].flatMap(([name, value]) => (attributes.has(name) ? [value] : []))

const ofPolicies = (policies: readonly (SourcePolicy | undefined)[]): string[] =>
  policies
    .flatMap((policy) => policy?.rules ?? [])
    .flatMap(({ updates }) => ofAttributes(Object.entries(updates?.attrs ?? {})))

const ofGraphs = (definitions: Definitions): string[] =>
  ofAttributes(readSourceAttrs(definitions.flatMap((definition) => (definition ? [definition.def] : []))))

/** The Dockerfile frontend takes directories from other sessions than the build's: `bake` shares one so. */
export const sessionsOfOptions = (options: Options): string[] =>
  Object.entries(options).flatMap(([name, value]) => (name.startsWith('local-sessionid:') ? [value] : []))

const named = (ids: readonly string[]): string[] => [...new Set(ids)].filter((id) => id !== '')

/** Every session that a Solve names, wherever it can. @throws InsituError LLB_MALFORMED */
export const sessionsOfSolve = (request: SolveRequest): string[] =>
  named([
    ...[request.session, request.sourcePolicySession, ...sessionsOfOptions(request.frontendAttrs)],
    ...ofGraphs([request.definition, ...Object.values(request.frontendInputs)]),
    ...ofPolicies([request.sourcePolicy]),
  ])

/** The same of LLBBridge/Solve. @throws InsituError LLB_MALFORMED */
export const sessionsOfBridgeSolve = (request: BridgeSolveRequest): string[] =>
  named([
    ...sessionsOfOptions(request.frontendOpt),
    ...ofGraphs([request.definition, ...Object.values(request.frontendInputs)]),
    ...ofPolicies(request.sourcePolicies),
  ])

/** A question about a source, as the daemon is to get it, and the sessions that it names. */
export interface SourceQuestion {
  readonly message: Uint8Array
  readonly sessions: readonly string[]
}

/** Whether a call is LLBBridge/ResolveImageConfig or ResolveSourceMeta. */
export const asksForSource = (path: string): boolean =>
  path === paths.bridgeResolveImage || path === paths.bridgeResolveSource

/** @param path of one of them. */
export function readSourceQuestion(path: string, message: Uint8Array): SourceQuestion {
  if (path === paths.bridgeResolveImage) {
    const request = decodeBounded(ResolveImageConfigRequestSchema, message)
    const sessions = named([request.sessionId, ...ofPolicies(request.sourcePolicies)])
    return { message: toBinary(ResolveImageConfigRequestSchema, request), sessions }
  }
  const request = decodeBounded(ResolveSourceMetaRequestSchema, message)
  const own = ofAttributes(Object.entries(request.source?.attrs ?? {}))
  const sessions = named([...own, ...ofPolicies(request.sourcePolicies)])
  return { message: toBinary(ResolveSourceMetaRequestSchema, request), sessions }
}
