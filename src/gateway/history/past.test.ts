import { create, toBinary } from '@bufbuild/protobuf'
import { expect, test } from 'vitest'
import { BuildHistoryEventSchema, StatusResponseSchema } from '../../buildkit/gen/control_pb.ts'
import { encodeHistoryEvent, recordAttributes } from '../../buildkit/history.ts'
import { paths } from '../../buildkit/methods.ts'
import { statusRequest } from '../../buildkit/workers.ts'
import { InsituError } from '../../kernel/errors.ts'
import { frame } from '../../kernel/grpc/framing.ts'
import { type Caller, identityOf } from '../listener/caller.ts'
import { fakeClient, fakeContext, type FakeDaemon } from '../../../test/unit/fake-relay.ts'
import { runningBuild } from './past.ts'

const alice: Caller = { kind: 'person', name: 'alice', groups: [] }
const ref = 'split'

const gone = (status: 'NOT_FOUND' | 'UNAVAILABLE', why: string): InsituError => new InsituError('X', why, { status })

/** A daemon that has built one platform. */
const part = (platform: string, failure?: Error): FakeDaemon =>
  function* (path) {
    if (path === paths.listenBuildHistory) {
      const frontendAttrs = { [recordAttributes.owner]: identityOf(alice), [recordAttributes.part]: platform }
      return yield encodeHistoryEvent(create(BuildHistoryEventSchema, { type: 1, record: { ref, frontendAttrs } }), '')
    }
    const vertexes = [{ digest: `sha256:${'1'.repeat(64)}`, name: '[1/1] RUN make' }]
    yield toBinary(StatusResponseSchema, create(StatusResponseSchema, { vertexes }))
    if (failure) throw failure
  }

const silent: FakeDaemon = () => {
  throw gone('UNAVAILABLE', 'it is down')
}

/** How many messages of progress a client gets of a build that is over, and how that ends. */
async function followed(daemons: Readonly<Record<string, FakeDaemon>>) {
  const request = statusRequest(ref)
  const client = fakeClient(daemons, { path: paths.status, request, caller: alice })
  const context = fakeContext(Object.keys(daemons), {
    builds: { wait: () => Promise.resolve(undefined) } as never,
  })
  expect(await runningBuild(context, client.call, ref, frame(request))).toBeUndefined()
  const trailers = client.stream.trailers ?? []
  const fields = Object.fromEntries(trailers.flatMap((name, i) => (i % 2 === 0 ? [[name, trailers[i + 1]]] : [])))
  return { steps: client.messages.length, fields }
}

test('the progress of a split build that is over is that of all of its parts', async () => {
  const daemons = { red: part('linux/amd64'), blue: part('linux/arm64') }
  expect(await followed(daemons)).toEqual({ steps: 2, fields: { 'grpc-status': '0' } })
})

test('a part whose progress breaks off is named, as is a node that may have one', async () => {
  const lost = part('linux/arm64', gone('UNAVAILABLE', 'the log is gone'))
  const daemons = { red: part('linux/amd64'), blue: lost, green: silent }
  const { fields } = await followed(daemons)
  expect(fields).toEqual({ 'grpc-status': '0', 'insitu-missing-nodes': 'green,blue' })
})

test('it fails as the first part did when all of them fail', async () => {
  const failed = (why: string): FakeDaemon => part('linux/amd64', gone('NOT_FOUND', why))
  const { fields } = await followed({ red: failed('no log'), blue: failed('no disk') })
  expect(fields).toMatchObject({ 'grpc-status': '5', 'insitu-missing-nodes': 'red,blue' })
  expect(fields['grpc-message']).toContain('no log')
})
