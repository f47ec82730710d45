import { create } from '@bufbuild/protobuf'
import { afterEach, describe, expect, it } from 'vitest'
import { timestampFromMs } from '@bufbuild/protobuf/wkt'
import {
  decodeHistoryEvent,
  decodeHistoryRequest,
  encodeHistoryEvent,
  encodeHistoryRequest,
  everyRecord,
  recordAttributes,
} from '../../buildkit/history.ts'
import { BuildHistoryEventSchema, BuildHistoryRequestSchema } from '../../buildkit/gen/control_pb.ts'
import { paths } from '../../buildkit/methods.ts'
import { identityOf, type Caller } from '../listener/caller.ts'
import { fakeClient, fakeContext, type FakeDaemon, inNoTime } from '../../../test/unit/fake-relay.ts'
import { admitAll } from '../policy/admission.ts'
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

describe('a limit', () => {
  const alice: Caller = { kind: 'person', name: 'alice', groups: [] }
  const asked: number[] = []
  afterEach(() => void asked.splice(0))
  /** When builds were made, by who made them. As daemons do, it gives the newest of all when it is told a limit. */
  const daemonWith =
    (node: string, builds: readonly (readonly [owner: string, at: number])[]): FakeDaemon =>
    (_, request) => {
      const { limit } = decodeHistoryRequest(request)
      asked.push(limit)
      const newest = builds.toSorted((a, b) => b[1] - a[1])
      // Daemons promise no order.
      const given = (limit === 0 ? newest : newest.slice(0, limit)).toSorted((a, b) => a[1] - b[1])
      return given.map(([owner, at]) => {
        const frontendAttrs = { [recordAttributes.owner]: `person ${owner}` }
        const record = { ref: `${owner}-${at}`, createdAt: timestampFromMs(at * 1000), frontendAttrs }
        return encodeHistoryEvent(create(BuildHistoryEventSchema, { type: 1, record }), node)
      })
    }
  const red = daemonWith('red', [
    ['alice', 1],
    ['alice', 5],
    ['bob', 7],
  ])
  const blue = daemonWith('blue', [
    ['alice', 2],
    ['alice', 4],
    ['bob', 8],
    ['bob', 9],
  ])
  const newest = async (limit: number, administrator = false): Promise<string[]> => {
    const context = fakeContext(['red', 'blue'], {
      admission: { ...admitAll, administrator: () => administrator },
    })
    const request = encodeHistoryRequest(create(BuildHistoryRequestSchema, { earlyExit: true, limit }))
    const client = fakeClient({ red, blue }, { path: paths.listenBuildHistory, request, caller: alice })
    await inNoTime(() => answerHistory(context, client.call))
    return client.messages.map((message) => decodeHistoryEvent(message).record?.ref ?? '')
  }

  it.each([
    [1, ['alice-5']],
    [3, ['alice-5', 'alice-4', 'alice-2']],
    [9, ['alice-5', 'alice-4', 'alice-2', 'alice-1']],
  ])('of %s is of own builds, whatever others built, and the newest of all nodes', async (limit, refs) => {
    expect(await newest(limit)).toEqual(refs)
    expect(asked, 'what daemons are told').toEqual([0, 0])
  })

  it('of an administrator is of all builds, and the daemons are told', async () => {
    expect(await newest(3, true)).toEqual(['bob-9', 'bob-8', 'bob-7'])
    expect(asked).toEqual([3, 3])
  })

  it('that is negative is refused', async () => {
    await expect(newest(-1)).rejects.toMatchObject({ code: 'HISTORY_LIMIT' })
  })
})
