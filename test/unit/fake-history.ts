import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf'
import { askedDigest, contentPaths } from '../../src/buildkit/content.ts'
import { ReadContentResponseSchema } from '../../src/buildkit/gen/content_pb.ts'
import {
  BuildHistoryEventSchema,
  type BuildHistoryRecordSchema,
  UpdateBuildHistoryRequestSchema,
} from '../../src/buildkit/gen/control_pb.ts'
import { decodeHistoryRequest, historyEvent } from '../../src/buildkit/history.ts'
import { paths } from '../../src/buildkit/methods.ts'
import { InsituError } from '../../src/kernel/errors.ts'
import type { FakeDaemon } from './fake-relay.ts'

export type FakeRecord = MessageInitShape<typeof BuildHistoryRecordSchema> & { readonly ref: string }

export interface FakeHistory {
  /** Of builds that have ended. What is deleted is taken out. */
  readonly records: Set<FakeRecord>
  /** Content by its digest. */
  readonly blob?: (digest: string) => Uint8Array | undefined
  /** Milliseconds before each record and each blob. */
  readonly takes?: number
}

const piece = 1 << 20

/** A daemon's records of builds that have ended, and its content. That it is as BuildKit's: test/history-suite. */
export const fakeHistory = ({ records, blob, takes = 0 }: FakeHistory): FakeDaemon =>
  async function* (path, request) {
    const wait = async (): Promise<void> => {
      if (takes > 0) await new Promise((resolve) => setTimeout(resolve, takes))
    }
    if (path === contentPaths.read) {
      await wait()
      const content = blob?.(askedDigest(request))
      if (!content) throw new InsituError('CONTENT_UNKNOWN', 'content not found', { status: 'NOT_FOUND' })
      for (let at = 0; at < content.length; at += piece) {
        const data = content.subarray(at, at + piece)
        yield toBinary(ReadContentResponseSchema, create(ReadContentResponseSchema, { data, offset: BigInt(at) }))
      }
      return
    }
    if (path === paths.updateBuildHistory) {
      const { ref } = fromBinary(UpdateBuildHistoryRequestSchema, request)
      const found = [...records].find((record) => record.ref === ref)
      if (!found) throw new InsituError('BUILD_UNKNOWN', `lease "ref_${ref}": not found`, { status: 'UNKNOWN' })
      records.delete(found)
      yield new Uint8Array()
      return
    }
    const asked = decodeHistoryRequest(request)
    if (asked.activeOnly) return
    for (const record of records) {
      if (asked.ref !== '' && asked.ref !== record.ref) continue
      if (asked.filter.length > 0 && !asked.filter.includes(`ref==${record.ref}`)) continue
      await wait()
      const event = create(BuildHistoryEventSchema, { type: historyEvent.complete, record })
      yield toBinary(BuildHistoryEventSchema, event)
    }
  }
