import { create, toBinary } from '@bufbuild/protobuf'
import { timestampMs } from '@bufbuild/protobuf/wkt'
import { optionPrefix } from '../api/names.ts'
import { decodeBounded } from './decode.ts'
import {
  BuildHistoryEventSchema,
  BuildHistoryRequestSchema,
  type BuildHistoryEvent,
  type BuildHistoryRecord,
  type BuildHistoryRequest,
  BuildResultInfoSchema,
  type Descriptor,
} from './gen/control_pb.ts'
import { attestationType } from './provenance.ts'
import { withoutProxies } from './proxy.ts'

/** Frontend options that only insitu writes; what a client says under these names is taken out before (see hints.ts). */
export const recordAttributes = {
  /** Whose build it is. Written when a Solve is relayed, kept by the daemon in its record of the build. */
  owner: `${optionPrefix}owner`,
  /** Its steps had proxy variables, which the daemon has written into its provenance. Taken out of records on their way. */
  proxy: `${optionPrefix}proxy-given`,
  /** Platforms of the part that was built there, where others were built on other nodes. */
  part: `${optionPrefix}part`,
  /** Where the record is. Added to records on their way to the client. */
  node: `${optionPrefix}node`,
} as const

/** BuildHistoryEventType: BuildKit v0.33.1, api/services/control/control.proto. */
export const historyEvent = { started: 0, complete: 1, deleted: 2 } as const

/** Header of a ListenBuildHistory answer: the daemon's clock (RFC 3339), against which clients tell ages. */
export const timestampHeader = 'buildkit-current-timestamp'

/** Header of a ListenBuildHistory call, for who knows where a build was: the only node to be asked. */
export const nodeHeader = `${optionPrefix}node`

export const decodeHistoryRequest = (message: Uint8Array): BuildHistoryRequest =>
  decodeBounded(BuildHistoryRequestSchema, message)

export const encodeHistoryRequest = (request: BuildHistoryRequest): Uint8Array =>
  toBinary(BuildHistoryRequestSchema, request)

/** The same question with other answers wanted. Fields that insitu does not know stay in it. */
export const askedDifferently = (
  request: BuildHistoryRequest,
  changes: Partial<Pick<BuildHistoryRequest, 'activeOnly' | 'ref' | 'earlyExit' | 'filter' | 'limit'>>,
): Uint8Array => encodeHistoryRequest({ ...request, ...changes })

/** All records of one build, ended or not, asked of a gateway. */
export const historyRequestFor = (ref: string): Uint8Array =>
  encodeHistoryRequest(create(BuildHistoryRequestSchema, { ref, earlyExit: true }))

/**
 * The same for daemons, which say besides what else runs. A daemon keeps a record for whoever asks for its ref, and never
 * forgets that somebody has (BuildKit v0.33.1, solver/llbsolver/history/buildhistory.go, `refs`): when it is deleted, or too
 * old, it is only hidden until the daemon starts again. A filter leaves no trace.
 */
export const historyByFilter = (request: BuildHistoryRequest): BuildHistoryRequest =>
  request.earlyExit && request.filter.length === 0 && /^[\w-]+$/.test(request.ref)
    ? { ...request, ref: '', filter: [`ref==${request.ref}`] }
    : request

/** All records of one build, asked of a daemon. */
export const daemonRequestFor = (ref: string): Uint8Array =>
  encodeHistoryRequest(historyByFilter(create(BuildHistoryRequestSchema, { ref, earlyExit: true })))

export const everyRecord = (): Uint8Array =>
  encodeHistoryRequest(create(BuildHistoryRequestSchema, { earlyExit: true }))

export const decodeHistoryEvent = (message: Uint8Array): BuildHistoryEvent =>
  decodeBounded(BuildHistoryEventSchema, message)

/** The event as clients get it: its record says on which node it is, and nothing of proxies, which may have passwords. */
export function encodeHistoryEvent(event: BuildHistoryEvent, node: string): Uint8Array {
  if (event.record) {
    const { [recordAttributes.proxy]: _, ...options } = withoutProxies(event.record.frontendAttrs)
    event.record.frontendAttrs = { ...options, [recordAttributes.node]: node }
    sayPlatform(event.record)
  }
  return toBinary(BuildHistoryEventSchema, event)
}

/** Platforms of the part that a record is of; undefined for one of a whole build. */
export const partOfRecord = (record: BuildHistoryRecord): readonly string[] | undefined =>
  record.frontendAttrs[recordAttributes.part]?.split(',')

/** What daemons attest to a build of one platform they do without its name: of several parts clients would keep one. */
function sayPlatform({ frontendAttrs, result, results }: BuildHistoryRecord): void {
  const platform = frontendAttrs[recordAttributes.part]
  if (platform === undefined || !result || result.attestations.length === 0) return
  results[platform] = create(BuildResultInfoSchema, { attestations: result.attestations })
  result.attestations = []
}

/** Who built it; undefined for builds that did not come through a gateway that says so. */
export const recordOwner = (record: BuildHistoryRecord): string | undefined =>
  record.frontendAttrs[recordAttributes.owner]

/** The provenance of a record that has proxy variables in it; none of builds without. */
export function provenanceWithProxies(record: BuildHistoryRecord): Descriptor[] {
  if (record.frontendAttrs[recordAttributes.proxy] === undefined) return []
  return [record.result, ...Object.values(record.results)]
    .flatMap((info) => info?.attestations ?? [])
    .filter(({ mediaType }) => mediaType === attestationType)
}

/** Newest first, as daemons sort when a limit is asked for. */
export const newestFirst = (a: BuildHistoryEvent, b: BuildHistoryEvent): number => startedAt(b) - startedAt(a)

const startedAt = ({ record }: BuildHistoryEvent): number => (record?.createdAt ? timestampMs(record.createdAt) : 0)

/**
 * The blobs of a record: logs, trace, error, attestations, results. Not the texts of its exporter response, which a
 * frontend can choose freely.
 */
export function recordBlobs(record: BuildHistoryRecord): Descriptor[] {
  const infos = [record.result, ...Object.values(record.results)].filter((info) => info !== undefined)
  const found = [
    record.logs,
    record.trace,
    record.externalError,
    ...infos.flatMap((info) => [info.resultDeprecated, ...info.attestations, ...Object.values(info.results)]),
  ]
  return found.filter((descriptor) => descriptor !== undefined && descriptor.digest !== '') as Descriptor[]
}
