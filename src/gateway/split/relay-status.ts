import { paths } from '../../buildkit/methods.ts'
import { statusRequest } from '../../buildkit/workers.ts'
import { status } from '../../kernel/grpc/status.ts'
import type { BuildNode } from '../directory/directory.ts'
import type { Build, Call, Fallback } from '../relay/context.ts'
import { endCall } from '../relay/end-call.ts'
import { messagesFrom } from '../relay/messages.ts'
import { openReply } from '../relay/reply.ts'
import type { BuildPart, SplitBuild } from './split-build.ts'
import { relabel } from './status.ts'

/**
 * Control/Status of a split build: the progress of all parts as one, opened by whoever calls this. What goes wrong with
 * a part is told by Solve; here it only ends.
 */
export async function relaySplitStatus(call: Call, build: Build, split: SplitBuild, ref: string): Promise<void> {
  const { fallback } = build
  if (fallback?.taken.aborted !== true) await relayParts(call, split.parts, ref)
  if (fallback?.taken.aborted === true) await followWhole(call, fallback)
  if (!call.signal.aborted) await Promise.race([build.progress.ended, aborted(call.signal)])
  endCall(call.stream, status('OK', ''))
}

/** A node that did not tell all of its part. */
export interface FailedPart {
  readonly node: string
  readonly error: unknown
}

/**
 * The progress of all parts as one, as far as their nodes tell it; its end is left to the caller.
 * @returns those that did not tell all of it.
 */
export async function relayParts(
  call: Call,
  parts: readonly Pick<BuildPart, 'node' | 'platforms'>[],
  ref: string,
): Promise<readonly FailedPart[]> {
  const told = await Promise.all(
    parts.map(async ({ node, platforms }) => ({
      node: node.name,
      error: await follow(call, node, ref, relabel(platforms)),
    })),
  )
  return told.filter(({ error }) => error !== undefined)
}

/** The steps of the one node that builds all of it in the end. */
async function followWhole(call: Call, fallback: Fallback): Promise<void> {
  try {
    const build = await fallback.build.promise
    await build.begun.promise
    await follow(call, build.node, build.ref ?? '', (message) => message)
  } catch {
    // Solve says why.
  }
}

/** @returns why the node did not tell all of it. */
async function follow(
  call: Call,
  node: BuildNode,
  ref: string,
  own: (message: Uint8Array) => Uint8Array,
): Promise<unknown> {
  const reply = openReply(call.stream, call.signal)
  try {
    const upstream = await call.upstreams.to(node)
    const messages = messagesFrom(upstream, paths.status, statusRequest(ref), call.signal, { headers: call.raw })
    for await (const message of messages) await reply.send(own(message))
    return undefined
  } catch (error) {
    return error
  }
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
