import { setTimeout as sleep } from 'node:timers/promises'
import type { NodeReport } from '../../api/node-report.ts'
import { InsituError } from '../../kernel/errors.ts'
import type { BuildNode } from '../directory/directory.ts'
import { isNative, samePlatform } from '../placement/fitness.ts'
import type { Placer } from '../placement/placer.ts'
import type { Call, RelayContext } from './context.ts'
import type { Upstream } from './upstream.ts'

/** Milliseconds for which a node that has just come back may not take the build yet, or be between two agents. */
const moment = 60_000

/** Milliseconds between two looks. */
const interval = 500

const comesBack: ReadonlySet<NodeReport['state']> = new Set(['starting', 'restarting', 'draining'])
// POLICY: only on nodes that the caller may not use.
const noNode: ReadonlySet<string> = new Set(['NO_NODE', 'NO_NATIVE_NODE', 'NODE_CANNOT_BUILD', 'NODE_GONE', 'POLICY'])

/** What a build that waits for a node waits for. */
export interface WaitedFor {
  /** The only node that will do; undefined: any. */
  readonly node?: string | undefined
  /** What it must be able to build; empty: anything. */
  readonly platforms: readonly string[]
  /** Nothing may be emulated. */
  readonly nativeOnly?: boolean
  /** Which nodes the caller may use. Default: all. */
  readonly allows?: (node: string) => boolean
  /**
   * Those of the platforms that no node takes now, where several nodes may share them: nodes that are back and build these
   * will do too. Absent: one node is to build them all.
   */
  readonly missing?: (() => Promise<readonly string[]>) | undefined
  /** Milliseconds to wait for nodes that are about to be back. Default: as long as a build may take. */
  readonly most?: number
  /** Milliseconds to wait after the last of them is back. */
  readonly moment?: number
}

/**
 * Places a build, also while the only nodes that fit are being restarted: a rollout of the agents goes from node to
 * node, and a build should not fail because it comes while its node is away. An agent that is being stopped may take as long
 * as the longest build that runs there.
 * @throws what `place` throws, at once unless a node is about to be back; as UNAVAILABLE when it was waited for in vain.
 */
export async function placedWhenBack<T>(
  context: RelayContext,
  call: Call,
  place: () => Promise<T>,
  waitedFor: WaitedFor,
): Promise<T> {
  const { most = context.config.maxBuildDuration * 1000, moment: short = moment } = waitedFor
  const end = performance.now() + most
  const away = new Set<string>()
  let seen = -Infinity
  let ended = (): void => undefined
  try {
    for (;;) {
      try {
        return await place()
      } catch (error) {
        if (!foundNoNode(error) || call.signal.aborted) throw error
        // One that has just come back may not be known to placement yet; one that is away may turn out to go for good.
        const now = returningNodes(context, waitedFor, await waitedFor.missing?.())
        const first = away.size === 0
        for (const name of now) away.add(name)
        if (now.length > 0) seen = performance.now()
        if (![...away].some((name) => stays(context.placer, name))) throw error
        if (performance.now() >= Math.min(end, seen + short)) throw first ? error : waitedInVain(error)
        // A gateway that stops waits for it.
        if (first) ended = context.activity.started([...away][0] ?? '')
      }
      await sleep(interval, undefined, { signal: call.signal }).catch(() => undefined)
    }
  } finally {
    ended()
  }
}

/** Who runs the build again may have more luck. */
const waitedInVain = ({ code, message, fix, cause }: InsituError): InsituError =>
  new InsituError(code, message, { status: 'UNAVAILABLE', fix, cause })

/** Whether placement failed because no node takes the build, which another moment may change. */
export const foundNoNode = (error: unknown): error is InsituError =>
  error instanceof InsituError && noNode.has(error.code)

type Nodes = Pick<RelayContext, 'directory' | 'placer'>

/** Whether a node is about to be back. */
export const someReturn = (context: Nodes): boolean => returningNodes(context, { platforms: [] }).length > 0

function returningNodes(
  { directory, placer }: Nodes,
  { node, platforms, nativeOnly = false, allows = () => true }: WaitedFor,
  missing: readonly string[] = [],
): readonly string[] {
  const gone = (directory.lately?.() ?? []).map((name) => ({ name, report: undefined }))
  const back = [...directory.nodes().filter(isReturning), ...gone].filter(
    ({ name }) => (node === undefined || name === node) && allows(name) && stays(placer, name),
  )
  const can = (one: Reported, wanted: readonly string[]): boolean => couldBuild(one, wanted, nativeOnly)
  // What one platform lacks is no reason to wait while nobody who returns has what another one lacks.
  const complete = missing.every((platform) => back.some((one) => can(one, [platform])))
  const helps = (one: Reported): boolean => complete && missing.some((platform) => can(one, [platform]))
  return back.filter((one) => can(one, platforms) || helps(one)).map(({ name }) => name)
}

const stays = (placer: Placer, node: string): boolean => placer.leaving?.(node) === undefined

const isReturning = ({ ready, report }: BuildNode): boolean =>
  !ready && (report === undefined || comesBack.has(report.state))

type Reported = Pick<BuildNode, 'report'>

/** Whether a node builds the platforms, as far as its agent has said yet what it can. */
export function couldBuild({ report }: Reported, platforms: readonly string[], nativeOnly: boolean): boolean {
  const [first] = report?.platforms ?? []
  if (!report || first === undefined) return true
  // The first is what its daemon was made for.
  const node = { platform: first.split('/').slice(0, 2).join('/') }
  return platforms.every(
    (wanted) =>
      report.platforms.some((own) => samePlatform(own, wanted)) &&
      (!nativeOnly || isNative(node, wanted, { native: report.nativePlatforms })),
  )
}

/** Milliseconds for which a node that was chosen a moment ago is dialled again. */
const redial = 10_000

/**
 * Connects to the node of a build that has not begun. A daemon that is just being restarted gets a moment: nothing of
 * the build is lost yet. Fixed nodes, of whose state nothing is known, are dialled once.
 * @throws InsituError NODE_UNREACHABLE
 */
export async function reach(call: Call, node: BuildNode, patience = redial): Promise<Upstream> {
  const end = performance.now() + patience
  for (;;) {
    try {
      return await call.upstreams.to(node)
    } catch (error) {
      if (node.report === undefined || call.signal.aborted || performance.now() >= end) throw error
    }
    await sleep(interval, undefined, { signal: call.signal }).catch(() => undefined)
  }
}
