import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { create } from '@bufbuild/protobuf'
import { SolveRequestSchema } from '../../buildkit/gen/control_pb.ts'
import { buildIdHeader, paths } from '../../buildkit/methods.ts'
import { encodeSolve } from '../../buildkit/solve.ts'
import { describeError, grpcStatus, InsituError } from '../../kernel/errors.ts'
import { frame, readBody, unframe } from '../../kernel/grpc/framing.ts'
import type { BuildNode } from '../directory/directory.ts'
import { anyNode } from './choose.ts'
import type { Build, Call, RelayContext } from './context.ts'
import { startCall } from './daemon-call.ts'
import { answer } from './end-call.ts'
import { checkOwner } from './owner.ts'
import { pump } from './pump.ts'
import { answerAfter, patience } from './tuning.ts'
import { unaryUpstream } from './unary.ts'

/** Milliseconds between two tries. */
const interval = 1000

/**
 * LLBBridge/Ping of a build that has to wait: with it a client asks what the daemon can do, and gives its build up when nobody
 * says it. A daemon answers it of builds that it has; while it has not got this one, it is asked of one of ours that builds nothing.
 * @param begins resolves when the daemon of a build can be asked, rejects when it never can.
 * @returns false when there is nothing to wait for: the call is to be relayed or refused.
 */
export async function answerPing(
  context: RelayContext,
  call: Call,
  id: string,
  begins: (build: Build | undefined, signal: AbortSignal) => Promise<unknown>,
): Promise<boolean> {
  let build: Build | undefined
  const over = new AbortController()
  const follow = async (): Promise<void> => {
    const hold = await context.builds.wait(id, patience, call.signal)
    try {
      checkOwner(context, call, hold?.value)
      build = hold?.value
      await begins(build, call.signal)
    } finally {
      hold?.release()
    }
  }
  const settled = (): void => over.abort(new Error('the daemon can be asked, or never can'))
  follow().then(settled, settled)
  const signal = AbortSignal.any([over.signal, call.signal])
  const pause = (time: number): Promise<void> => sleep(time, undefined, { signal }).catch(() => undefined)
  for (await pause(answerAfter); !signal.aborted; await pause(interval)) {
    const pong = await askPong(context, call, build?.node, signal)
    if (pong === undefined || signal.aborted) continue
    await readBody(call.stream, call.messageLimit)
    answer(call.stream, frame(pong))
    return true
  }
  return false
}

/** @returns undefined when there is nobody to ask. */
async function askPong(
  { directory, logger, remembered }: RelayContext,
  call: Call,
  preferred: BuildNode | undefined,
  signal: AbortSignal,
): Promise<Uint8Array | undefined> {
  try {
    const node = preferred?.ready ? preferred : anyNode(directory, undefined)
    return (remembered.pong = await pongOf(call, node, signal))
  } catch (error) {
    if (!(error instanceof InsituError)) throw error
    logger.debug({ err: describeError(error) }, 'no daemon to answer a client that waits')
    return remembered.pong
  }
}

/** Asks a daemon what it can do. @throws InsituError */
async function pongOf(call: Call, node: BuildNode, signal: AbortSignal): Promise<Buffer> {
  const upstream = await call.upstreams.to(node, true)
  const ref = `insitu-ping-${randomUUID()}`
  // A build that its client drives, and which ends when its client leaves. Internal: in no history.
  const build = startCall(upstream, paths.solve)
  build.stream.resume()
  build.stream.end(frame(encodeSolve(create(SolveRequestSchema, { ref, internal: true }))))
  try {
    const headers = [buildIdHeader, ref]
    return await unaryUpstream(upstream, paths.bridgePing, new Uint8Array(), signal, { headers, timeout: 5000 })
  } finally {
    build.cancel()
  }
}

/** Relays a Ping to the daemon that has the build. */
export async function relayPing({ remembered }: RelayContext, call: Call, node: BuildNode): Promise<void> {
  const upstream = await call.upstreams.to(node)
  const body = await readBody(call.stream, call.messageLimit)
  const chunks: Buffer[] = []
  const onData = (chunk: Buffer): void => void chunks.push(chunk)
  const end = await pump(call.stream, upstream.request(call.raw), { body, onData, lost: () => upstream.whyLost() })
  if (end.kind === 'status' && end.code === grpcStatus.OK) remembered.pong = unframe(Buffer.concat(chunks))
}
