import { statusRequest } from '../../buildkit/workers.ts'
import { createDeframer } from '../../kernel/grpc/deframe.ts'
import { frame } from '../../kernel/grpc/framing.ts'
import { status } from '../../kernel/grpc/status.ts'
import { errorCodes } from '../http2/errors.ts'
import type { BuildNode } from '../directory/directory.ts'
import type { Build, Call, Fallback } from '../relay/context.ts'
import { endCall, openAnswer } from '../relay/end-call.ts'
import { messageLimit } from '../relay/tuning.ts'
import type { BuildPart, SplitBuild } from './split-build.ts'
import { relabel } from './status.ts'

/**
 * Control/Status of a split build: the progress of all parts as one, opened by whoever calls this. What goes wrong with
 * a part is told by Solve; here it only ends.
 * @param body the client's request, framed.
 */
export async function relaySplitStatus(call: Call, build: Build, split: SplitBuild, body: Uint8Array): Promise<void> {
  if (!call.stream.headersSent) openAnswer(call.stream)
  const { fallback } = build
  if (fallback?.taken.aborted !== true) await relayParts(call, split.parts, body)
  if (fallback?.taken.aborted === true) await followWhole(call, fallback)
  if (!call.signal.aborted) await Promise.race([build.progress.ended, aborted(call.signal)])
  endCall(call.stream, status('OK', ''))
}

/** The progress of all parts as one, as far as their nodes tell it; its end is left to the caller. */
export async function relayParts(
  call: Call,
  parts: readonly Pick<BuildPart, 'node' | 'platforms'>[],
  body: Uint8Array,
): Promise<void> {
  if (!call.stream.headersSent) openAnswer(call.stream)
  await Promise.all(parts.map(({ node, platforms }) => follow(call, node, body, relabel(platforms))))
}

/** The steps of the one node that builds all of it in the end. */
async function followWhole(call: Call, fallback: Fallback): Promise<void> {
  try {
    const build = await fallback.build.promise
    await build.begun.promise
    await follow(call, build.node, frame(statusRequest(build.ref ?? '')), (message) => message)
  } catch {
    // Solve says why.
  }
}

async function follow(
  call: Call,
  node: BuildNode,
  body: Uint8Array,
  own: (message: Uint8Array) => Uint8Array,
): Promise<void> {
  const { stream } = call
  const upstream = await call.upstreams.to(node).catch(() => undefined)
  if (!upstream || upstream.lost() || stream.closed) return
  const source = upstream.request(call.raw)
  const deframer = createDeframer(messageLimit)
  const closed = new Promise<void>((resolve) => void source.once('close', resolve))
  const proceed = (): void => void source.resume()
  const giveUp = (): void => source.close(errorCodes.CANCEL)
  call.signal.addEventListener('abort', giveUp, { once: true })
  source.on('data', (chunk) => {
    let room = true
    try {
      for (const message of deframer.push(chunk)) room = stream.write(frame(own(message)))
    } catch {
      return giveUp()
    }
    if (!room && !stream.closed) source.pause()
  })
  stream.on('drain', proceed)
  source.end(body)
  await closed
  stream.off('drain', proceed)
  call.signal.removeEventListener('abort', giveUp)
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
