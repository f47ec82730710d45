import { describeError } from '../../kernel/errors.ts'
import type { Image } from './images.ts'
import { makersOf, type Moved, type RebuildPlan, type Step } from './plan.ts'

/** How a Build ended that did another's work again. */
export interface Rebuilt {
  /** `NAMESPACE/NAME` of the new Build. */
  readonly build: string | undefined
  readonly digest: string | undefined
  readonly node: string | undefined
  /** Why it failed. */
  readonly failure?: string | undefined
}

export type ResultKind = 'rebuilt' | 'unchanged' | 'current' | 'failed' | 'skipped' | 'interrupted'

export interface Result {
  readonly image: Image
  readonly result: ResultKind
  readonly level: number | undefined
  readonly from: string | undefined
  readonly to: string | undefined
  readonly build?: string | undefined
  readonly node?: string | undefined
  readonly reason?: string | undefined
  readonly because: readonly Moved[]
  /** How long it took, queue included. */
  readonly seconds?: number | undefined
}

/** A base that another step has made, or will not. */
export interface Made {
  readonly image: Image
  readonly digest: string | undefined
  readonly node: string | undefined
}

export interface ExecuteOptions {
  readonly parallel: number
  /** After the first failure nothing more is begun. */
  readonly failFast: boolean
  /** Aborts when nothing more shall be begun, and what runs is not waited for. */
  readonly signal: AbortSignal
  /** @param made the bases that are images of Builds, by name. What it throws is a failure. */
  readonly rebuild: (step: Step, moved: readonly Moved[], made: ReadonlyMap<string, Made>) => Promise<Rebuilt>
  readonly onBegin?: (step: Step, running: number) => void
  readonly onEnd?: (result: Result, running: number) => void
  readonly now?: () => number
}

export interface Executed {
  readonly results: readonly Result[]
  /** Most that ran at once. */
  readonly peak: number
}

/** Works a plan off: each step as soon as those it waits for are over, so many at a time. */
export async function execute(plan: RebuildPlan, images: readonly Image[], options: ExecuteOptions): Promise<Executed> {
  const { parallel, failFast, signal, rebuild, now = Date.now } = options
  const makers = makersOf(images)
  const results = new Map<string, Result>()
  const waiting = new Set(plan.steps)
  const running = new Set<Promise<void>>()
  let peak = 0
  let failed: string | undefined

  const finish = (result: Result): void => {
    results.set(result.image.id, result)
    if (result.result === 'failed') failed ??= result.image.names[0] ?? result.image.id
    options.onEnd?.(result, running.size)
  }
  /** What became of the name of a base: what a step made of it, or what was there. */
  const madeOf = (name: string): Made | undefined => {
    const image = makers.get(name)
    if (image === undefined) return undefined
    const result = results.get(image.id)
    const { status } = image.build
    return result?.result === 'rebuilt' || result?.result === 'unchanged'
      ? { image, digest: result.to, node: result.node }
      : { image, digest: image.digest, node: status?.node }
  }
  const plain = (step: Step): Pick<Result, 'image' | 'level' | 'from' | 'because'> => ({
    ...{ image: step.image, level: step.level, from: step.image.digest, because: step.because },
  })
  const leave = (step: Step, result: 'skipped' | 'current' | 'interrupted', reason?: string): void =>
    finish({ ...plain(step), result, to: step.image.digest, reason })

  async function one(step: Step): Promise<void> {
    const made = new Map(
      (step.image.bases ?? []).flatMap(({ name }) => {
        const found = madeOf(name)
        return found && found.image !== step.image ? [[name, found] as const] : []
      }),
    )
    const moved = step.because
      .map((base) => ({ ...base, to: made.get(base.name)?.digest ?? base.to }))
      .filter(({ from, to }) => to !== undefined && to !== from)
    if (moved.length === 0) return leave(step, 'current', 'what it is built on did not change')
    const started = now()
    let ended: Rebuilt
    try {
      ended = await rebuild(step, moved, made)
    } catch (error) {
      if (signal.aborted) return leave(step, 'interrupted', 'it may still run; the next run goes on with it')
      ended = { build: undefined, digest: undefined, node: undefined, failure: describeError(error) }
    }
    const { build, digest, node, failure } = ended
    const seconds = Math.round((now() - started) / 100) / 10
    const result = failure !== undefined ? 'failed' : digest === step.image.digest ? 'unchanged' : 'rebuilt'
    const to = failure === undefined ? digest : step.image.digest
    finish({ ...plain(step), because: moved, result, to, build, node, reason: failure, seconds })
  }

  /** Why a step is not begun at all, once everything before it is over. */
  const hindrance = (step: Step): string | undefined => {
    const bad = step.after.map((id) => results.get(id)).find((r) => r?.result === 'failed' || r?.result === 'skipped')
    if (bad) return `its base ${bad.image.names[0]} was not rebuilt`
    return failFast && failed !== undefined ? `stopped after ${failed} failed` : undefined
  }

  while (waiting.size > 0 || running.size > 0) {
    for (const step of waiting) {
      if (signal.aborted) break
      const over = step.after.every((id) => results.has(id))
      if (!over && !(failFast && failed !== undefined)) continue
      const why = hindrance(step)
      if (why !== undefined) {
        waiting.delete(step)
        leave(step, 'skipped', why)
        continue
      }
      if (running.size >= parallel) break
      waiting.delete(step)
      const task: Promise<void> = one(step).finally(() => running.delete(task))
      running.add(task)
      peak = Math.max(peak, running.size)
      options.onBegin?.(step, running.size)
    }
    if (signal.aborted) break
    // Nothing runs, and nothing that waits could be begun: what it waits for was taken away above in this round.
    if (running.size === 0) continue
    await Promise.race(running)
  }
  await Promise.all(running)
  for (const step of waiting) leave(step, 'interrupted', 'not begun')
  return { results: [...results.values()], peak }
}
