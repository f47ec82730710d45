import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { create } from '@bufbuild/protobuf'
import { SolveRequestSchema } from '../../buildkit/gen/control_pb.ts'
import { buildIdHeader, paths } from '../../buildkit/methods.ts'
import { encodeSolve } from '../../buildkit/solve.ts'
import { describeError, grpcStatus, InsituError } from '../../kernel/errors.ts'
import { frame, readBody, unframe } from '../../kernel/grpc/framing.ts'
import type { BuildNode } from '../directory/directory.ts'
import { askNode } from '../history/ask.ts'
import { exchange } from '../split/exchange.ts'
import type { Build, Call, RelayContext } from './context.ts'
import { startCall } from './daemon-call.ts'
import { answer } from './end-call.ts'
import { type RawHeaders, withHeader } from './headers.ts'
import { pump } from './pump.ts'
import { answerAfter } from './tuning.ts'
import type { Upstream } from './upstream.ts'

/** Milliseconds between two tries, and for one. */
const interval = 1000
const trial = 3000

/**
 * LLBBridge/Ping of a build that has to wait: with it a client asks what the daemon can do, and gives its build up when nobody
 * says it. A daemon answers it of builds that it has; while it has not got this one, it is asked of one of ours that builds nothing.
 * @param begun resolves when the daemon of the build can be asked, rejects when it never can.
 * @param build the build, once it is placed.
 * @returns false when there is nothing to wait for: the call is to be relayed or refused.
 */
export async function answerPing(
  context: RelayContext,
  call: Call,
  begun: Promise<unknown>,
  build: () => Build | undefined,
): Promise<boolean> {
  const over = new AbortController()
  const settled = (): void => over.abort(new Error('the daemon can be asked, or never can'))
  begun.then(settled, settled)
  const signal = AbortSignal.any([over.signal, call.signal])
  const pause = (time: number): Promise<void> => sleep(time, undefined, { signal }).catch(() => undefined)
  const tried = new Set<string>()
  for (await pause(answerAfter); !signal.aborted; await pause(interval)) {
    const pong = await findPong(context, call, build()?.node, tried, signal)
    if (pong === undefined || signal.aborted) continue
    await readBody(call.stream, call.messages)
    answer(call.stream, frame(pong))
    return true
  }
  return false
}

/** What the daemon of a placed build says, else what any said last, else what another one says; undefined when nobody does. */
async function findPong(
  { directory, logger, remembered }: RelayContext,
  call: Call,
  placed: BuildNode | undefined,
  tried: Set<string>,
  signal: AbortSignal,
): Promise<Uint8Array | undefined> {
  if (!placed && remembered.pong) return remembered.pong
  const ready = [placed, ...directory.nodes()].filter((node) => node?.ready)
  const node = ready.find((one) => one && !tried.has(one.name))
  if (!node) {
    tried.clear()
    return remembered.pong
  }
  tried.add(node.name)
  try {
    const ask = { upstreams: call.upstreams, signal }
    return (remembered.pong = await askNode(ask, node, (upstream, _, late) => pongOf(upstream, call.raw, late), trial))
  } catch (error) {
    if (!(error instanceof InsituError) && !signal.aborted) throw error
    logger.debug({ node: node.name, err: describeError(error) }, 'a daemon does not answer for a client that waits')
    return remembered.pong
  }
}

/**
 * Asks a daemon what it can do.
 * @param raw headers of the client's Ping.
 * @throws InsituError; the signal's reason.
 */
async function pongOf(upstream: Upstream, raw: RawHeaders, signal: AbortSignal): Promise<Buffer> {
  const ref = `insitu-ping-${randomUUID()}`
  // A build that its client drives, and which ends when its client leaves. Internal: in no history.
  const build = startCall(upstream, paths.solve)
  build.stream.resume()
  build.stream.end(frame(encodeSolve(create(SolveRequestSchema, { ref, internal: true }))))
  try {
    return unframe(await exchange(upstream, withHeader(raw, buildIdHeader, ref), frame(new Uint8Array()), signal))
  } finally {
    build.cancel()
  }
}

/** Relays a Ping to the daemon that has the build. */
export async function relayPing({ remembered }: RelayContext, call: Call, node: BuildNode): Promise<void> {
  const upstream = await call.upstreams.to(node)
  const body = await readBody(call.stream, call.messages)
  const chunks: Buffer[] = []
  const onData = (chunk: Buffer): void => void chunks.push(chunk)
  const end = await pump(call.stream, upstream.request(call.raw), { body, onData, lost: () => upstream.whyLost() })
  if (end.kind === 'status' && end.code === grpcStatus.OK) remembered.pong = unframe(Buffer.concat(chunks))
}
