import { clone, create, fromBinary, toBinary } from '@bufbuild/protobuf'
import {
  ResultSchema,
  ReturnRequestSchema,
  SolveRequestSchema,
  SolveResponseSchema,
  type SolveRequest,
} from '../../buildkit/gen/gateway_pb.ts'
import { rewriteBridgeSolve } from '../../buildkit/solve.ts'
import { InsituError } from '../../kernel/errors.ts'
import { frame, readBody, unframe } from '../../kernel/grpc/framing.ts'
import type { Build, Call, RelayContext } from '../relay/context.ts'
import { answer } from '../relay/end-call.ts'
import { bridgeProxy } from '../relay/proxy.ts'
import { endWith } from './end-part.ts'
import { everyPart } from './every-part.ts'
import { exchange } from './exchange.ts'
import type { BuildPart, SplitBuild } from './split-build.ts'

/**
 * LLBBridge/Solve: every part's frontend gets its own platforms. It is answered when all of them are built, with what
 * the first made: so nothing is exported anywhere before everything is built everywhere.
 */
export async function relaySplitBridgeSolve(
  context: RelayContext,
  call: Call,
  { build, split }: { readonly build: Build; readonly split: SplitBuild },
): Promise<void> {
  const asked = unframe(await readBody(call.stream, call.messageLimit))
  const request = fromBinary(SolveRequestSchema, context.admission.bridgeSolve(call.caller, asked))
  if (request.frontend === '') throw combines()
  try {
    const answers = await everyPart(split.parts, call.signal, async (part, signal) => {
      const message = partRequest(request, part)
      const { defaults } = context.config
      const proxy = await bridgeProxy(context, { ...build, node: part.node })
      const changed = rewriteBridgeSolve(message, { defaults, proxy })
      const upstream = await call.upstreams.to(part.node)
      const response = await exchange(upstream, call.raw, frame(changed ?? message), signal)
      const { result } = fromBinary(SolveResponseSchema, unframe(response))
      if (result) split.results.set(part, toBinary(ResultSchema, result))
      return response
    })
    answer(call.stream, answers[0] ?? Buffer.alloc(0))
  } catch (error) {
    endWith(call.stream, error)
  }
}

function partRequest(request: SolveRequest, part: BuildPart): Uint8Array {
  const own = clone(SolveRequestSchema, request)
  own.frontendOpt['platform'] = part.platforms.join(',')
  own.evaluate = true
  return toBinary(SolveRequestSchema, own)
}

/**
 * LLBBridge/Return: each daemon gets the result that its own frontend made, with the metadata that the client has added.
 * An error goes to all of them as it is.
 */
export async function relaySplitReturn(context: RelayContext, call: Call, split: SplitBuild): Promise<void> {
  const body = await readBody(call.stream, call.messageLimit)
  context.admission.bridgeReturn(call.caller, unframe(body))
  const returned = fromBinary(ReturnRequestSchema, unframe(body))
  try {
    const answers = await everyPart(split.parts, call.signal, async (part, signal) => {
      const own = part === split.parts[0] || returned.error.length > 0 ? undefined : ownReturn(split, part, returned)
      const upstream = await call.upstreams.to(part.node)
      return exchange(upstream, call.raw, own ? frame(own) : body, signal)
    })
    answer(call.stream, answers[0] ?? Buffer.alloc(0))
  } catch (error) {
    endWith(call.stream, error)
  }
}

function ownReturn(
  { results, parts }: SplitBuild,
  part: BuildPart,
  { result: returned }: { readonly result?: { readonly metadata: Record<string, Uint8Array> } | undefined },
): Uint8Array {
  const bytes = results.get(part)
  const first = results.get(parts[0])
  // A client that returns what it was never given has combined it from something else.
  if (!bytes || !first) throw combines()
  const result = fromBinary(ResultSchema, bytes)
  const given = fromBinary(ResultSchema, first).metadata
  for (const [key, value] of Object.entries(returned?.metadata ?? {})) {
    if (given[key] === undefined) result.metadata[key] = value
  }
  return toBinary(ReturnRequestSchema, create(ReturnRequestSchema, { result }))
}

const combines = (): InsituError =>
  new InsituError('SPLIT', 'the client puts platforms together itself, which cannot be done on several nodes', {
    status: 'FAILED_PRECONDITION',
    fix: 'choose the node with insitu.node',
  })
