import { create } from '@bufbuild/protobuf'
import { timestampFromMs } from '@bufbuild/protobuf/wkt'
import { expect, it } from 'vitest'
import { BuildHistoryEventSchema, BuildHistoryRequestSchema } from '../../buildkit/gen/control_pb.ts'
import {
  decodeHistoryEvent,
  decodeHistoryRequest,
  encodeHistoryEvent,
  encodeHistoryRequest,
  recordAttributes,
} from '../../buildkit/history.ts'
import { paths } from '../../buildkit/methods.ts'
import { InsituError } from '../../kernel/errors.ts'
import { type Caller, identityOf } from '../listener/caller.ts'
import { fakeClient, fakeContext, type FakeDaemon } from '../../../test/unit/fake-relay.ts'
import { answerHistory } from './list.ts'

const caller: Caller = { kind: 'loopback', address: '127.0.0.1' }
const hour = 3_600_000

const ended = (ref: string, at: number): Uint8Array => {
  const record = {
    ref,
    completedAt: timestampFromMs(at),
    frontendAttrs: { [recordAttributes.owner]: identityOf(caller) },
  }
  return encodeHistoryEvent(create(BuildHistoryEventSchema, { type: 1, record }), '')
}

it.each([
  ['behind', -hour],
  ['before', hour],
])(
  'what ended while a node was away is told when it is back, also where its clock is %s the gateway’s',
  async (_, by) => {
    const now = (): number => Date.now() + by
    const records = new Map([['old', now() - 60_000]])
    let lose: (() => void) | undefined
    let times = 0
    const daemon: FakeDaemon = async function* (_, request) {
      if (!decodeHistoryRequest(request).activeOnly) {
        for (const [ref, at] of records) yield ended(ref, at)
        return
      }
      times += 1
      await new Promise<void>((resolve) => (lose = resolve))
      throw new InsituError('LOST', 'the daemon is gone', { status: 'UNAVAILABLE' })
    }
    const request = encodeHistoryRequest(create(BuildHistoryRequestSchema, {}))
    const clock = (): Date => new Date(now())
    const client = fakeClient({ red: daemon }, { path: paths.listenBuildHistory, request, caller, clock })
    const done = answerHistory(fakeContext(['red']), client.call)
    const told = (): (string | undefined)[] => client.messages.map((message) => decodeHistoryEvent(message).record?.ref)
    await expect.poll(told).toEqual(['old'])
    await expect.poll(() => times).toBe(1)
    lose?.()
    records.set('missed', now())
    await expect.poll(() => times).toBe(2)
    await expect.poll(told).toEqual(['old', 'missed'])
    client.cancel()
    lose?.()
    await done
  },
)
