import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { buildIdHeader, paths } from '../../buildkit/methods.ts'
import { createBindings } from '../correlate/bindings.ts'
import { looseStream } from '../../../test/unit/loose-stream.ts'
import { relayBridge } from './build-calls.ts'
import type { Build, Call, RelayContext } from './context.ts'
import { answerAfter } from './tuning.ts'

test.each([
  ['is answered', true],
  ['is given up before its body has ended', false],
])('a Ping of a build that waits and that %s leaves nothing behind', async (_, ends) => {
  const builds = createBindings<Build>({ linger: 0 })
  const decision = Promise.withResolvers<Build>()
  const claimed = builds.claim('b1', () => decision.promise)
  const stream = looseStream()
  stream.received(Buffer.alloc(5))
  if (ends) stream.receivedEnd()
  const gone = new AbortController()
  const context = {
    ...{ builds, remembered: { pong: new Uint8Array() }, directory: { nodes: () => [] } },
    ...{ admission: { administrator: () => true }, logger: { debug: () => undefined } },
  } as unknown as RelayContext
  const call = {
    ...{ stream, path: paths.bridgePing, raw: [':path', paths.bridgePing, buildIdHeader, 'b1'], signal: gone.signal },
    ...{ caller: { kind: 'loopback', address: '::1' }, upstreams: { latest: () => undefined } },
    messages: { each: 1 << 20, take: () => undefined, give: () => undefined },
  } as unknown as Call
  const failed = relayBridge(context, call, 'bridge').then(
    () => false,
    () => true,
  )
  await sleep(answerAfter + 200)
  stream.finish(8)
  gone.abort(new Error('the client went away'))
  expect(await failed).toBe(!ends)

  decision.resolve({ caller: call.caller, begun: Promise.withResolvers<void>() } as unknown as Build)
  const hold = await claimed
  hold.release()
  await expect.poll(() => builds.size).toBe(0)
})
