import { checkForeignRef } from '../history/foreign-ref.ts'
import { clone } from '@bufbuild/protobuf'
import { decodeBounded } from '../../buildkit/decode.ts'
import { type SolveRequest, SolveRequestSchema, SolveResponseSchema } from '../../buildkit/gen/control_pb.ts'
import type { ProxyChoice, ProxyVariables } from '../../buildkit/proxy.ts'
import { encodeSolve, rewriteSolve } from '../../buildkit/solve.ts'
import { describeError, grpcStatus } from '../../kernel/errors.ts'
import { frame, unframe } from '../../kernel/grpc/framing.ts'
import { statusOf } from '../../kernel/grpc/status.ts'
import type { BuildInProgress } from '../images/in-progress.ts'
import { identityOf } from '../listener/caller.ts'
import type { Build, Call, RelayContext } from '../relay/context.ts'
import { answer } from '../relay/end-call.ts'
import { proxyOf, registryProxies, sayProvenance, sayUnreachable } from '../relay/proxy.ts'
import type { PumpEnd } from '../relay/pump.ts'
import { reach } from '../relay/reach.ts'
import { waitForTurn } from '../relay/wait-turn.ts'
import { clientCredentials } from './ask-client.ts'
import { endWith } from './end-part.ts'
import { everyPart } from './every-part.ts'
import { DaemonRefusal, exchange } from './exchange.ts'
import { exportPart } from './export-again.ts'
import { unlessTaken } from './fallback.ts'
import { assembleIndex, type Descriptor, type ImageIndex } from './image-index.ts'
import { partAttributes } from './output.ts'
import { pushIndex, readPushed } from './push-index.ts'
import { findSchemes, type PushOptions, type Schemes } from './registries.ts'
import { mergedResponse, readPartImage } from './results.ts'
import type { BuildPart, SplitBuild } from './split-build.ts'

const halfWritten = 'the registry was just writing down a layer that another node has too'

type Responses = readonly Readonly<Record<string, string>>[]

/** What a split build needs besides its call. */
export interface SplitSolve {
  readonly build: Build
  readonly split: SplitBuild
  readonly request: SolveRequest
  readonly onBegun: () => void
}

/** Nothing is answered and nothing runs any more: one node is to build all of it. */
export interface FellBack {
  readonly kind: 'fallback'
  /** Still there for who waits for the names; to be ended when the build of the one node has its own. */
  readonly inProgress: BuildInProgress | undefined
}

/**
 * Control/Solve of a split build: each part on its node, all at the same time, and the index of what they made. The
 * client gets one answer: the first thing that went wrong, else the index.
 */
export async function solveParts(context: RelayContext, client: Call, solve: SplitSolve): Promise<PumpEnd | FellBack> {
  const { build, split } = solve
  // A client without its session waits for a build that waits for the session.
  const { lost } = split.session ?? {}
  const call = lost ? { ...client, signal: AbortSignal.any([client.signal, lost]) } : client
  const ended = split.parts.map(({ node }) => context.activity.started(node.name))
  const turns: (() => void)[] = []
  let asked: number | undefined
  const onBegun = (): void => {
    asked = performance.now()
    solve.onBegun()
  }
  const names = split.output.kind === 'place' ? split.output.names : []
  const inProgress = names.length > 0 ? context.images?.begin(names) : undefined
  const over = (): void => {
    for (const release of turns.splice(0)) release()
  }
  try {
    // In the same order for all builds: two that wait for each other would wait for ever.
    const nodes = split.parts.map(({ node }) => node).toSorted((a, b) => (a.name < b.name ? -1 : 1))
    for (const node of nodes) turns.push(await waitForTurn(context, call, { ...build, node }))
    inProgress?.placed(build.node.name)
    const registries = await registriesOf(context, call, split)
    const responses = await solveAll(context, call, { ...solve, onBegun })
    over()
    if (build.fallback?.taken.aborted === true) return { kind: 'fallback', inProgress }
    const index = await finish(call, solve, responses, registries)
    // From here on the names are those of a build that is there, whatever becomes of its deliveries.
    asked = undefined
    await imagesBuilt(context, call, solve, index, inProgress)
    build.progress.end()
    answer(call.stream, frame(mergedResponse(responses, split.output, index)))
    return { kind: 'status', code: grpcStatus.OK, message: undefined }
  } catch (error) {
    inProgress?.ended(describeError(error))
    // Nothing stays on nodes of what failed; also where it is just being named.
    const { images } = context
    if (images && asked !== undefined && names.length > 0) {
      const age = performance.now() - asked
      await Promise.all(split.parts.map(({ node }) => images.retract(node.name, names, age)))
    }
    build.progress.end()
    build.begun.reject(error)
    if (client.signal.aborted) return { kind: 'reset', by: 'client', code: 8 }
    endWith(call.stream, error)
    context.logger.debug({ err: describeError(error) }, 'a split build failed')
    const { code } = statusOf(error)
    return { kind: 'status', code, message: error instanceof DaemonRefusal ? error.message : describeError(error) }
  } finally {
    over()
    for (const end of ended) end()
  }
}

/** The nodes learn what their names point to, and everybody who waits for the images is told. */
async function imagesBuilt(
  { images, placer }: RelayContext,
  { signal }: Call,
  { build, split, request }: SplitSolve,
  index: ImageIndex | undefined,
  inProgress: BuildInProgress | undefined,
): Promise<void> {
  const { output, parts } = split
  if (output.kind !== 'place' || output.names.length === 0 || !index) return
  const { names } = output
  if (!images || !inProgress) {
    await Promise.all(parts.map(({ placement }) => placer.built(placement, names)))
    return
  }
  const { digest, mediaType, bytes } = index
  const error = await images.finish(
    {
      node: build.node.name,
      others: parts.slice(1).map(({ node }) => node.name),
      shared: { digest, mediaType, content: bytes.toString('utf8') },
      placed: [...new Set(parts.flatMap(({ placement }) => placement.targets))],
      named: new Map(names.map((name) => [name, digest])),
      ...{ ref: request.ref, wish: build.delivery, progress: build.progress, signal },
    },
    inProgress,
  )
  if (error) throw error
}

async function solveAll(context: RelayContext, call: Call, solve: SplitSolve): Promise<Responses> {
  const { build, split, onBegun } = solve
  let said = false
  const messages = await everyPart(split.parts, call.signal, async (part) => {
    const proxy = await proxyOf(context, { ...build, node: part.node })
    said ||= sayProvenance(build, proxy, solve.request)
    sayUnreachable({ node: part.node, progress: build.progress }, proxy)
    await checkForeignRef(context, call, await reach(call, part.node), solve.request.ref)
    return partMessage(context, call, solve, part, proxy)
  })
  const bodies = new Map(split.parts.map((part, i) => [part, messages[i] ?? Buffer.alloc(0)]))
  const asked = everyPart(split.parts, call.signal, async (part, signal) => {
    const upstream = await call.upstreams.to(part.node)
    const ask = (until: AbortSignal): Promise<Buffer> =>
      exportPart({
        message: bodies.get(part) ?? Buffer.alloc(0),
        asked: () => split.results.asked.get(part),
        solve: (message) => exchange(upstream, call.raw, frame(message), until),
        onAgain: () => build.progress.step(`[insitu] node ${part.node.name} pushes again: ${halfWritten}`).done(),
      })
    const body = await unlessTaken(build.fallback, ask, { call, ref: solve.request.ref, part, signal })
    if (!body) return {}
    return decodeBounded(SolveResponseSchema, unframe(body)).exporterResponse
  })
  build.begun.resolve()
  onBegun()
  return asked
}

function partMessage(
  { config }: RelayContext,
  { caller }: Call,
  { split, request }: SplitSolve,
  part: BuildPart,
  proxy: ProxyChoice,
): Uint8Array {
  const own = clone(SolveRequestSchema, request)
  own.frontendAttrs['platform'] = part.platforms.join(',')
  const ofPart = (attrs: Readonly<Record<string, string>>): Record<string, string> => ({
    ...partAttributes(attrs, split.output, part.platforms),
  })
  for (const exporter of own.exporters) exporter.attrs = ofPart(exporter.attrs)
  if (own.exporterDeprecated !== '') own.exporterAttrsDeprecated = ofPart(own.exporterAttrsDeprecated)
  const owner = config.recordOwner ? identityOf(caller) : undefined
  return rewriteSolve(own, { defaults: config.defaults, proxy, owner, part: part.platforms }) ?? encodeSolve(own)
}

/** How the registries are reached that the index is for. */
interface RegistryWays {
  readonly plainHttp: readonly string[]
  readonly proxies: ProxyVariables
  readonly schemes?: Schemes
}

async function registriesOf(context: RelayContext, { signal }: Call, split: SplitBuild): Promise<RegistryWays> {
  const { output, parts } = split
  const { plainHttp } = context.config.push
  if (output.kind !== 'push') return { plainHttp, proxies: {} }
  const proxies = await registryProxies(context, parts[0].node)
  return { plainHttp, proxies, schemes: findSchemes({ ...output, plainHttp, proxies, signal }) }
}

/** Makes the index of what the parts made, and pushes it. */
async function finish(
  call: Call,
  { build, split }: SplitSolve,
  responses: Responses,
  { schemes, ...ways }: RegistryWays,
): Promise<ImageIndex | undefined> {
  const { output, parts, platforms, session } = split
  if (output.kind === 'none') return undefined
  const step = build.progress.step('[insitu] index of all platforms')
  try {
    const byPart = new Map(parts.map((part, i) => [part, responses[i] ?? {}]))
    const push = output.kind === 'push' ? output : undefined
    const optionsOf = async (to: typeof push & object): Promise<PushOptions> => ({
      ...to,
      ...ways,
      credentials: session && clientCredentials(await session.client(call.signal)),
      signal: call.signal,
    })
    const pushed = push && (async (made: Descriptor) => readPushed(made, await optionsOf(push), schemes))
    const images = await everyPart(parts, call.signal, (part, signal) =>
      readPartImage(call, part, byPart.get(part) ?? {}, signal, pushed),
    )
    const index = assembleIndex(images, platforms)
    for (const { node, platforms: own, descriptor } of images) {
      step.log(`${own.join(', ')}: ${descriptor.digest} of node ${node}`)
    }
    step.log(`index: ${index.digest}`)
    if (push) {
      await pushIndex(index, await optionsOf(push), schemes)
      step.log(`pushed as ${push.names.join(', ')}`)
    }
    step.done()
    return index
  } catch (error) {
    step.done(describeError(error))
    throw error
  }
}
