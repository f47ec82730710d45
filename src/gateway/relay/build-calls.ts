import { buildIdHeader, paths } from '../../buildkit/methods.ts'
import { rewriteBridgeSolve } from '../../buildkit/solve.ts'
import { vertexMessage } from '../../buildkit/vertex.ts'
import { statusRef } from '../../buildkit/workers.ts'
import { InsituError } from '../../kernel/errors.ts'
import { frame, readBody, unframe } from '../../kernel/grpc/framing.ts'
import type { Hold } from '../correlate/bindings.ts'
import type { BuildNode } from '../directory/directory.ts'
import { soleNode } from './choose.ts'
import type { Build, Call, RelayContext } from './context.ts'
import { header } from './headers.ts'
import { proxyOf } from './proxy.ts'
import { checkOwner } from './owner.ts'
import { pump } from './pump.ts'
import { messageLimit, patience } from './tuning.ts'

/** Control/Status: the progress of a build, with a step of our own in front that says where it runs and why. */
export async function relayStatus(context: RelayContext, call: Call): Promise<void> {
  const body = await readBody(call.stream, messageLimit)
  const ref = statusRef(unframe(body))
  const hold = await context.builds.wait(ref, patience, call.signal)
  if (call.signal.aborted) return hold?.release()
  try {
    checkOwner(context, call, hold?.value)
    const node = nodeOf(context, hold, ref)
    const upstream = await call.upstreams.to(node)
    await pump(call.stream, upstream.request(call.raw), {
      body,
      before: context.config.statusVertex ? announcement(hold?.value) : undefined,
      lost: () => upstream.lost(),
    })
  } finally {
    hold?.release()
  }
}

/** LLBBridge: what a client that drives its build itself asks the daemon. Options for frontends are rewritten. */
export async function relayBridge(context: RelayContext, call: Call, kind: 'bridge' | 'bridge-solve'): Promise<void> {
  const id = header(call.raw, buildIdHeader)
  if (id === undefined) {
    throw new InsituError('BUILD_UNNAMED', `the call has no ${buildIdHeader}`, { status: 'INVALID_ARGUMENT' })
  }
  const hold = await context.builds.wait(id, patience, call.signal)
  if (call.signal.aborted) return hold?.release()
  try {
    checkOwner(context, call, hold?.value)
    const node = nodeOf(context, hold, id)
    if (call.path === paths.bridgeReturn) return await relayReturn(context, call, node)
    if (kind === 'bridge') return await relayWhole(call, node)
    const body = await readBody(call.stream, messageLimit)
    const ours = hold?.value.placement !== undefined
    const asked = unframe(body)
    const admitted = context.admission.bridgeSolve(call.caller, asked)
    const changed = rewriteBridgeSolve(admitted, {
      defaults: ours && context.config.defaults,
      proxy: ours ? await proxyOf(context, node) : {},
    })
    const upstream = await call.upstreams.to(node)
    await pump(call.stream, upstream.request(call.raw), {
      body: changed ? frame(changed) : admitted === asked ? body : frame(admitted),
      lost: () => upstream.lost(),
    })
  } finally {
    hold?.release()
  }
}

/** LLBBridge/Return: the result of a build that the client drives, with metadata that exporters read. */
async function relayReturn(context: RelayContext, call: Call, node: BuildNode): Promise<void> {
  const body = await readBody(call.stream, messageLimit)
  context.admission.bridgeReturn(call.caller, unframe(body))
  const upstream = await call.upstreams.to(node)
  await pump(call.stream, upstream.request(call.raw), { body, lost: () => upstream.lost() })
}

/** Relays a call byte for byte. */
export async function relayWhole(call: Call, node: BuildNode): Promise<void> {
  const upstream = await call.upstreams.to(node)
  await pump(call.stream, upstream.request(call.raw), { lost: () => upstream.lost() })
}

function announcement(build: Build | undefined): Uint8Array | undefined {
  if (!build?.placement) return undefined
  const { node, reason } = build.placement
  return frame(vertexMessage(`[insitu] node ${node}: ${reason}`, build.vertex, build.placedAt))
}

/** Where there is one node only, it also knows builds that ended long ago or came by another way. */
function nodeOf(context: RelayContext, hold: Hold<Build> | undefined, ref: string): BuildNode {
  const node = hold?.value.node ?? soleNode(context.directory)
  if (node) return node
  throw new InsituError('BUILD_UNKNOWN', `this gateway knows no running build ${ref}`, { status: 'NOT_FOUND' })
}
