import { once } from 'node:events'
import { paths } from '../../buildkit/methods.ts'
import { string } from '../../kernel/grpc/wire.ts'
import { readBody, unframe } from '../../kernel/grpc/framing.ts'
import { InsituError } from '../../kernel/errors.ts'
import { openReply } from './reply.ts'
import type { Call, RelayContext } from './context.ts'

/** HealthCheckResponse.ServingStatus: grpc/health/v1/health.proto. */
const serving = { yes: 1, no: 2, unknownService: 3 } as const

/** Services that can be asked for; the empty one is the server as a whole. */
const services = new Set(['', 'moby.buildkit.v1.Control'])

/** Milliseconds between looks at the nodes while somebody watches. */
const lookAgain = 1000

/** grpc.health.v1: whether builds are taken, which is also no while no node can build. */
export async function answerHealth(context: RelayContext, call: Call): Promise<void> {
  const service = string(unframe(await readBody(call.stream, call.messages)), 1)
  const known = services.has(service)
  if (call.path === paths.healthCheck) {
    if (!known) throw new InsituError('SERVICE_UNKNOWN', 'unknown service', { status: 'NOT_FOUND' })
    const reply = openReply(call.stream, call.signal)
    await reply.send(Uint8Array.of(0x08, stateOf(context)))
    return reply.end()
  }
  const reply = openReply(call.stream, call.signal)
  let said: number | undefined
  while (!call.signal.aborted) {
    const state = known ? stateOf(context) : serving.unknownService
    if (state !== said) await reply.send(Uint8Array.of(0x08, state))
    said = state
    await change(context, call)
  }
}

const stateOf = (context: RelayContext): number =>
  context.refusing() === undefined && context.directory.nodes().some((node) => node.ready) ? serving.yes : serving.no

/** Waits a moment, or until the gateway drains or the client is gone. */
async function change({ draining }: RelayContext, call: Call): Promise<void> {
  const moment = AbortSignal.timeout(lookAgain)
  const signals = draining.aborted ? [call.signal, moment] : [call.signal, draining, moment]
  const any = AbortSignal.any(signals)
  if (!any.aborted) await once(any, 'abort')
}
