import { create } from '@bufbuild/protobuf'
import { expect, it } from 'vitest'
import { decodeHistoryEvent, encodeHistoryEvent, everyRecord, recordAttributes } from '../../buildkit/history.ts'
import { BuildHistoryEventSchema } from '../../buildkit/gen/control_pb.ts'
import { paths } from '../../buildkit/methods.ts'
import { identityOf, type Caller } from '../listener/caller.ts'
import { fakeClient, fakeContext, type FakeDaemon, inNoTime } from '../../../test/unit/fake-relay.ts'
import { answerHistory } from './list.ts'

const caller: Caller = { kind: 'loopback', address: '127.0.0.1' }

const recordOf = (ref: string): Uint8Array => {
  const frontendAttrs = { [recordAttributes.owner]: identityOf(caller) }
  return encodeHistoryEvent(create(BuildHistoryEventSchema, { type: 1, record: { ref, frontendAttrs } }), 'x')
}

const history = (node: string, records = 10): FakeDaemon =>
  function* () {
    for (let i = 0; i < records; i++) yield recordOf(`${node}-${i}`)
  }

/** @returns the refs that the client has got at the end, and the trailers. */
async function listed(daemons: Readonly<Record<string, FakeDaemon>>, slow?: number) {
  const context = fakeContext(Object.keys(daemons), { patience: 1000 })
  const client = fakeClient(daemons, { path: paths.listenBuildHistory, request: everyRecord(), caller, slow })
  await inNoTime(() => answerHistory(context, client.call))
  const refs = client.messages.map((message) => decodeHistoryEvent(message).record?.ref ?? '')
  return { refs, trailers: client.stream.trailers }
}

const all = ['red', 'blue'].flatMap((node) => Array.from({ length: 10 }, (_, i) => `${node}-${i}`))

it.each([300, 3000])('a client that needs %s ms for a record gets those of all nodes', async (slow) => {
  const { refs, trailers } = await listed({ red: history('red'), blue: history('blue') }, slow)
  expect(refs.toSorted()).toEqual(all.toSorted())
  expect(trailers).toEqual(['grpc-status', '0'])
})

it('a node that says nothing more is given up, and named', async () => {
  const stuck: FakeDaemon = async function* () {
    yield recordOf('green-0')
    await new Promise(() => {})
  }
  const { refs, trailers } = await listed({ red: history('red', 1), green: stuck }, 3000)
  expect(refs.toSorted()).toEqual(['green-0', 'red-0'])
  expect(trailers).toContain('green')
})

it('a node that takes its time for every record is heard to the end', async () => {
  const slow: FakeDaemon = async function* () {
    for (let i = 0; i < 5; i++) {
      await new Promise((resolve) => setTimeout(resolve, 500))
      yield recordOf(`red-${i}`)
    }
  }
  const { refs } = await listed({ red: slow })
  expect(refs).toHaveLength(5)
})
