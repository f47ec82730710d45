import { create, toBinary } from '@bufbuild/protobuf'
import { decodeBounded } from './decode.ts'
import {
  InfoResponseSchema,
  ListWorkersRequestSchema,
  ListWorkersResponseSchema,
  StatusRequestSchema,
  WorkerRecordSchema,
  type WorkerRecord,
} from './gen/control_pb.ts'
import { parseFilters } from './filter.ts'
import { group } from '../api/names.ts'
import type { NodeReport } from '../api/node-report.ts'

const label = 'org.mobyproject.buildkit.worker.'
const nodeLabel = `${group}/node`

/** A node as one worker, which is how clients know platforms. */
export function workerOf(report: NodeReport): WorkerRecord {
  return create(WorkerRecordSchema, {
    id: report.node,
    labels: {
      [`${label}executor`]: 'containerd',
      [`${label}hostname`]: report.node,
      [`${label}snapshotter`]: report.snapshotter,
      [`${label}network`]: report.network,
      [nodeLabel]: report.node,
    },
    platforms: report.platforms.map(platformOf),
    buildkitVersion: versionOf(report.buildkit),
  })
}

const versionOf = (version: string): { package: string; version: string } => ({
  package: 'github.com/moby/buildkit',
  version: version === '' || version.startsWith('v') ? version : `v${version}`,
})

/** `linux/arm/v7` */
export function platformOf(text: string): { os: string; architecture: string; variant: string } {
  const [os = '', architecture = '', variant = ''] = text.split('/')
  return { os, architecture, variant }
}

/** The records of one daemon's own answer, marked with the node's name. */
export function workersOf(node: string, response: Uint8Array): WorkerRecord[] {
  return decodeBounded(ListWorkersResponseSchema, response).record.map((record) => {
    record.labels = { ...record.labels, [nodeLabel]: node }
    return record
  })
}

/** The filter of a ListWorkers request, over the fields `id` and `labels`. @throws InsituError FILTER */
export function workerFilter(request: Uint8Array): (worker: WorkerRecord) => boolean {
  const matches = parseFilters(decodeBounded(ListWorkersRequestSchema, request).filter)
  return ({ id, labels }) =>
    matches(([field, ...rest]) => (field === 'id' ? id : field === 'labels' ? labels[rest.join('.')] : undefined))
}

export const listWorkersResponse = (records: readonly WorkerRecord[]): Uint8Array =>
  toBinary(ListWorkersResponseSchema, create(ListWorkersResponseSchema, { record: [...records] }))

/** The version clients adapt to: the oldest, so that they ask for nothing that some node cannot do. */
export function infoResponse(versions: readonly string[]): Uint8Array {
  const order = new Intl.Collator('en', { numeric: true })
  const oldest = versions.toSorted(order.compare)[0] ?? ''
  return toBinary(InfoResponseSchema, create(InfoResponseSchema, { buildkitVersion: versionOf(oldest) }))
}

/** A request for the progress of a build. */
export const statusRequest = (ref: string): Uint8Array =>
  toBinary(StatusRequestSchema, create(StatusRequestSchema, { ref }))

export const statusRef = (request: Uint8Array): string => decodeBounded(StatusRequestSchema, request).ref
