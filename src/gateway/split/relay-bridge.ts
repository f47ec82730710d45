import { clone, create, toBinary } from '@bufbuild/protobuf'
import { decodeBounded } from '../../buildkit/decode.ts'
import {
  RefRequestSchema,
  ResultSchema,
  ReturnRequestSchema,
  SolveRequestSchema,
  SolveResponseSchema,
  type SolveRequest,
  type SolveResponse,
} from '../../buildkit/gen/gateway_pb.ts'
import { paths } from '../../buildkit/methods.ts'
import { normalizePlatform } from '../../buildkit/platform.ts'
import { rewriteBridgeSolve } from '../../buildkit/solve.ts'
import { frame, unframe } from '../../kernel/grpc/framing.ts'
import type { Build, Call, RelayContext } from '../relay/context.ts'
import { answer } from '../relay/end-call.ts'
import { bridgeProxy } from '../relay/proxy.ts'
import { endWith } from './end-part.ts'
import { everyPart } from './every-part.ts'
import { exchange } from './exchange.ts'
import { combines } from './fallback.ts'
import { mergeResults, refsOf } from './merge-results.ts'
import type { BuildPart, SplitBuild } from './split-build.ts'

/**
 * Whether every part can be asked for its platforms of what an LLBBridge/Solve asks for: a frontend, for all platforms
 * of the build. A client that asks for one platform at a time, or for a graph, puts them together itself.
 */
export function isForAllParts({ frontend, frontendOpt }: SolveRequest, { platforms }: SplitBuild): boolean {
  if (frontend === '') return false
  try {
    const asked = (frontendOpt['platform'] ?? '').split(',').flatMap((text) => normalizePlatform(text) ?? [])
    return asked.every((one) => platforms.includes(one)) && platforms.every((one) => asked.includes(one))
  } catch {
    return false
  }
}

/** Whether a client returns what it was given, or an error. A result of nothing given is its own. */
export function isFromParts(message: Uint8Array, { results }: SplitBuild): boolean {
  return results.begun || decodeBounded(ReturnRequestSchema, message).error.length > 0
}

/**
 * LLBBridge/Solve: every part's frontend gets its own platforms. It is answered when all of them are built, with what
 * all have made: so nothing is exported anywhere before everything is built everywhere.
 */
export async function relaySplitBridgeSolve(
  context: RelayContext,
  call: Call,
  { build, split }: { readonly build: Build; readonly split: SplitBuild },
  asked: SolveRequest,
): Promise<void> {
  const { results } = split
  const request = context.admission.bridgeSolve(call.caller, asked)
  results.begun = true
  try {
    const answers = await everyPart(split.parts, call.signal, async (part, signal) => {
      const { defaults } = context.config
      const proxy = await bridgeProxy(context, { ...build, node: part.node })
      const own = rewriteBridgeSolve(partRequest(request, part), { defaults, proxy })
      results.asked.set(part, own)
      const upstream = await call.upstreams.to(part.node)
      const response = await exchange(upstream, call.raw, frame(own), signal)
      return { part, response: decodeBounded(SolveResponseSchema, unframe(response)) }
    })
    const made = answers.flatMap(({ part, response: { result } }) => (result ? [{ part, result }] : []))
    for (const { part, result } of made) {
      results.own.set(part, toBinary(ResultSchema, result))
      for (const ref of refsOf(result)) results.refs.set(ref, part)
    }
    const [first] = answers
    if (!first) return
    // A client from before results: all that it gets is that it is done.
    if (made.length < answers.length) return answer(call.stream, frame(encode(first.response)))
    const result = mergeResults(made, split.platforms)
    for (const key of Object.keys(result.metadata)) results.metadata.add(key)
    answer(call.stream, frame(encode({ ...first.response, result })))
  } catch (error) {
    endWith(call.stream, error)
  }
}

const encode = (response: SolveResponse): Uint8Array => toBinary(SolveResponseSchema, response)

function partRequest(request: SolveRequest, part: BuildPart): SolveRequest {
  const own = clone(SolveRequestSchema, request)
  own.frontendOpt['platform'] = part.platforms.join(',')
  own.evaluate = true
  return own
}

/**
 * LLBBridge/Return: each daemon gets the result that its own frontend made, with the metadata that the client has added.
 * An error goes to all of them as it is.
 * @param body framed.
 */
export async function relaySplitReturn(
  context: RelayContext,
  call: Call,
  split: SplitBuild,
  body: Buffer,
): Promise<void> {
  const admitted = context.admission.bridgeReturn(call.caller, unframe(body))
  const returned = decodeBounded(ReturnRequestSchema, admitted)
  try {
    const answers = await everyPart(split.parts, call.signal, async (part, signal) => {
      const own = frame(returned.error.length > 0 ? admitted : ownReturn(split, part, returned))
      const upstream = await call.upstreams.to(part.node)
      return exchange(upstream, call.raw, own, signal)
    })
    answer(call.stream, answers[0] ?? Buffer.alloc(0))
  } catch (error) {
    endWith(call.stream, error)
  }
}

function ownReturn(
  { results }: SplitBuild,
  part: BuildPart,
  { result: returned }: { readonly result?: { readonly metadata: Record<string, Uint8Array> } | undefined },
): Uint8Array {
  const bytes = results.own.get(part)
  // A client that returns what it was never given has combined it from something else.
  if (!bytes) throw combines()
  const result = decodeBounded(ResultSchema, bytes)
  for (const [key, value] of Object.entries(returned?.metadata ?? {})) {
    if (!results.metadata.has(key)) result.metadata[key] = value
  }
  return toBinary(ReturnRequestSchema, create(ReturnRequestSchema, { result }))
}

const aboutRefs = new Set(
  ['ReadFile', 'ReadDir', 'StatFile', 'Evaluate'].map((name) => paths.bridgePing.replace(/Ping$/, name)),
)

/** Whether a call is about something that a frontend has made, and therefore for the node that has it. */
export const isAboutRef = (path: string): boolean => aboutRefs.has(path)

/** The part that has what such a call is about; undefined when it is not known. @param message not framed. */
export const partOf = (message: Uint8Array, { results }: SplitBuild): BuildPart | undefined =>
  results.refs.get(decodeBounded(RefRequestSchema, message).ref)
