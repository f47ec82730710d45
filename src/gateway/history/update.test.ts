import { create, toBinary } from '@bufbuild/protobuf'
import { expect, it } from 'vitest'
import { UpdateBuildHistoryRequestSchema } from '../../buildkit/gen/control_pb.ts'
import { decodeHistoryEvent, everyRecord, recordAttributes } from '../../buildkit/history.ts'
import { paths } from '../../buildkit/methods.ts'
import { type Caller, identityOf } from '../listener/caller.ts'
import { fakeHistory } from '../../../test/unit/fake-history.ts'
import { fakeClient, fakeContext, type FakeDaemon } from '../../../test/unit/fake-relay.ts'
import { answerHistory } from './list.ts'
import { answerUpdateHistory } from './update.ts'

const person = (name: string): Caller => ({ kind: 'person', name, groups: [] })
const [alice, bob] = [person('alice'), person('bob')]

/** A daemon with records of alice. */
const keeper = (...refs: readonly string[]): FakeDaemon => {
  const frontendAttrs = { [recordAttributes.owner]: identityOf(alice) }
  return fakeHistory({ records: new Set(refs.map((ref) => ({ ref, frontendAttrs }))) })
}

function cluster() {
  const daemons = { red: keeper('split', 'first'), blue: keeper('split', 'second') }
  const context = fakeContext(['red', 'blue'])
  const list = async (caller: Caller): Promise<string[]> => {
    const client = fakeClient(daemons, { path: paths.listenBuildHistory, request: everyRecord(), caller })
    await answerHistory(context, client.call)
    return client.messages.map((message) => decodeHistoryEvent(message).record?.ref ?? '')
  }
  const remove = async (caller: Caller, ref: string): Promise<unknown> => {
    const message = create(UpdateBuildHistoryRequestSchema, { ref, delete: true })
    const request = toBinary(UpdateBuildHistoryRequestSchema, message)
    const client = fakeClient(daemons, { path: paths.updateBuildHistory, request, caller })
    await answerUpdateHistory(context, client.call)
    return client.stream.trailers
  }
  return { list, remove }
}

it('who deletes all records that are listed succeeds with each, also with one that two nodes have', async () => {
  const { list, remove } = cluster()
  const refs = await list(alice)
  expect(refs.toSorted()).toEqual(['first', 'second', 'split', 'split'])
  for (const ref of refs) expect(await remove(alice, ref)).toEqual(['grpc-status', '0'])
  expect(await list(alice)).toEqual([])
})

it('that holds for who had the record, and for records that were there', async () => {
  const { list, remove } = cluster()
  const unknown = { code: 'BUILD_UNKNOWN', status: 'NOT_FOUND' }
  await expect(remove(bob, 'split')).rejects.toMatchObject(unknown)
  await remove(alice, 'split')
  await expect(remove(bob, 'split')).rejects.toMatchObject(unknown)
  await expect(remove(alice, 'never')).rejects.toMatchObject(unknown)
  expect((await list(alice)).toSorted()).toEqual(['first', 'second'])
})
