import { table } from '../cluster/table.ts'
import type { HandMadeResult } from './by-hand.ts'
import type { Executed, Result, ResultKind } from './execute.ts'
import type { Image } from './images.ts'
import type { Moved, RebuildPlan } from './plan.ts'

/** What `--output json` prints. */
export interface RebuildReport {
  readonly dryRun: boolean
  readonly interrupted: boolean
  /** Images about whose bases nobody could say what they are now. */
  readonly unknown: number
  readonly counts: Readonly<Record<string, number>>
  /** Rebuilt images by node. */
  readonly nodes: Readonly<Record<string, number>>
  /** Most Builds that ran at once. */
  readonly peak: number
  readonly seconds: number
  readonly images: readonly ReportedImage[]
}

export interface ReportedImage {
  readonly image: string
  readonly result: ResultKind | 'planned'
  readonly level?: number | undefined
  /** The Build that stood for the image before, and the one that was made. Absent: it was built by hand. */
  readonly of?: string | undefined
  readonly build?: string | undefined
  readonly from?: string | undefined
  readonly to?: string | undefined
  readonly node?: string | undefined
  /** That have it, of one that was built by hand. */
  readonly nodes?: readonly string[] | undefined
  readonly seconds?: number | undefined
  readonly reason?: string | undefined
  readonly bases: readonly Moved[]
}

const nameOf = (image: Image): string => image.names.join(', ')

/** The report of a plan; `executed` is undefined for one that is only shown. */
export function reportOf(
  plan: RebuildPlan,
  executed: Executed | undefined,
  byHand: readonly HandMadeResult[],
  { seconds, interrupted }: { readonly seconds: number; readonly interrupted: boolean },
): RebuildReport {
  const done = executed
    ? executed.results.map(reported)
    : plan.steps.map(({ image, level, because }): ReportedImage => ({
        ...{ image: nameOf(image), of: image.id, result: 'planned', level, from: image.digest, bases: because },
      }))
  const still = (image: Image, result: 'skipped' | 'current', reason?: string): ReportedImage => ({
    ...{ image: nameOf(image), of: image.id, result, from: image.digest, to: image.digest, reason, bases: [] },
  })
  const images = [
    ...done,
    ...plan.skipped.map(({ image, reason }) => still(image, 'skipped', reason)),
    ...plan.current.map((image) => still(image, 'current')),
    ...byHand.map(({ image: { name, digest, nodes }, result, reason, because }): ReportedImage => ({
      ...{ image: name, result, from: digest, to: digest, nodes, reason, bases: because },
    })),
  ]
  return {
    ...{ dryRun: executed === undefined, interrupted, peak: executed?.peak ?? 0, seconds, images },
    unknown: plan.skipped.filter(({ unknown }) => unknown).length,
    counts: count(images.map(({ result }) => result)),
    nodes: count(images.flatMap(({ result, node }) => (result === 'rebuilt' && node !== undefined ? [node] : []))),
  }
}

const reported = ({ image, ...result }: Result): ReportedImage => ({
  ...{ image: nameOf(image), of: image.id, result: result.result, level: result.level, bases: result.because },
  ...{ build: result.build, from: result.from, to: result.to, node: result.node },
  ...{ seconds: result.seconds, reason: result.reason },
})

function count(words: readonly string[]): Record<string, number> {
  const result: Record<string, number> = {}
  for (const word of words.toSorted((a, b) => (a < b ? -1 : 1))) result[word] = (result[word] ?? 0) + 1
  return result
}

const order = ['planned', 'rebuilt', 'unchanged', 'failed', 'skipped', 'interrupted', 'current'] as const
const words: Readonly<Record<(typeof order)[number], string>> = {
  ...{ planned: 'to be rebuilt', rebuilt: 'rebuilt', unchanged: 'unchanged', failed: 'failed', skipped: 'skipped' },
  ...{ interrupted: 'interrupted', current: 'up to date' },
}

/** The report for people. Images that are up to date are only counted. */
export function reportText(report: RebuildReport): string {
  const rows = report.images
    .filter(({ result }) => result !== 'current')
    .toSorted((a, b) => order.indexOf(a.result) - order.indexOf(b.result) || (a.level ?? 0) - (b.level ?? 0))
    .map((one) => [
      ...[one.result, String(one.level ?? '-'), one.image, one.build ?? one.of ?? '-', short(one.from), short(one.to)],
      ...[one.node ?? one.nodes?.join(',') ?? '-', why(one)],
    ])
  const header = ['RESULT', 'LEVEL', 'IMAGE', 'BUILD', 'WAS', 'IS', 'NODE', 'WHY']
  const counts = order.flatMap((kind) => {
    const number = report.counts[kind] ?? 0
    return number === 0 ? [] : [`${number} ${words[kind]}`]
  })
  const how = [
    ...(report.dryRun ? [] : [`${report.seconds.toFixed(1)} s, at most ${report.peak} at once`]),
    ...Object.entries(report.nodes).map(([node, number]) => `${node} ${number}`),
  ]
  const summary = [counts.length === 0 ? 'no image uses it' : counts.join(', '), how.join(', ')].filter(Boolean)
  return [...(rows.length === 0 ? [] : [table([header, ...rows])]), summary.join('; ')].join('\n')
}

const short = (digest: string | undefined): string =>
  digest === undefined ? '-' : digest.replace(/^sha256:/, '').slice(0, 12)

const why = ({ of, reason, bases }: ReportedImage): string =>
  of === undefined ? [because(bases), reason].filter(Boolean).join('; ') : (reason ?? because(bases))

const because = (bases: readonly Moved[]): string =>
  bases.map(({ name, from, to }) => `${name} ${short(from)} → ${to === undefined ? 'rebuilt' : short(to)}`).join(', ')
