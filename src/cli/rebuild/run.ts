import { buildResources, type Build } from '../../api/builds/builds.ts'
import { describeError } from '../../kernel/errors.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import { createLogger } from '../../kernel/log.ts'
import type { NodeOrigins } from '../../api/built-on.ts'
import { type BaseQuery, matchesBase } from './base-query.ts'
import { type HandMade, handMade, planByHand } from './by-hand.ts'
import { currentDigest, type RegistryOptions } from './digests.ts'
import { watchEndings } from './endings.ts'
import { execute, type Executed } from './execute.ts'
import { beyondKept } from './history.ts'
import { askedNames, type Current, planRebuild, type RebuildPlan } from './plan.ts'
import { type ReadCluster, readCluster } from './read-cluster.ts'
import { type RebuildReport, reportOf } from './report.ts'
import { rebuildOne } from './rebuild-one.ts'
import { rebuildOfLabel } from './lineage.ts'

export interface RebuildOptions extends Omit<RegistryOptions, 'signal'> {
  readonly client: KubernetesClient
  /** Undefined: all. */
  readonly namespace: string | undefined
  readonly selector: string | undefined
  /** Undefined: every base that has moved. */
  readonly base: BaseQuery | undefined
  /** What the base is to be, instead of asking its registry. */
  readonly to: string | undefined
  readonly dryRun: boolean
  readonly parallel: number
  readonly failFast: boolean
  /** Ended rebuilds of a Build that stay. */
  readonly keep: number
  /** What agents know of the images on their nodes. Never rejects: what it does not know it says. */
  readonly origins: () => Promise<readonly NodeOrigins[]>
  readonly signal: AbortSignal
  /** Told what happens. */
  readonly say: (line: string) => void
}

/** Finds what is built on bases that have moved, rebuilds it in order, and reports. */
export async function rebuild(options: RebuildOptions): Promise<RebuildReport> {
  const started = Date.now()
  const cluster = await readCluster(options)
  const made = new Set(cluster.images.flatMap(({ names }) => names))
  // They have no labels.
  const reports = options.selector === undefined ? await options.origins() : []
  const byHand = handMade(reports, made, options.namespace)
  const digests = await ask(cluster, byHand, options)
  const question = { base: options.base, selected: cluster.selected, digests }
  const plan = planRebuild(cluster.images, question)
  const executed = options.dryRun ? undefined : await work(plan, cluster, options)
  if (executed && !options.signal.aborted) await tidy(options)
  return reportOf(plan, executed, planByHand(byHand, plan, cluster.images, question), {
    seconds: (Date.now() - started) / 1000,
    interrupted: options.signal.aborted,
  })
}

/** Registries asked at a time. */
const atOnce = 8

async function ask(
  { images, selected }: ReadCluster,
  byHand: readonly HandMade[],
  options: RebuildOptions,
): Promise<Map<string, Current>> {
  const { base, to } = options
  const digests = new Map<string, Current>()
  const names = askedNames(images.filter(selected), base, byHand)
  const makers = new Set(images.flatMap((image) => image.names))
  const queue = names.filter((name) => !makers.has(name)).values()
  const one = async (): Promise<void> => {
    for (const name of queue) {
      const given =
        to !== undefined && base !== undefined && matchesBase({ ...base, digest: undefined }, { name, digest: to })
      digests.set(name, given ? { digest: to } : await currentDigest(name, options))
    }
  }
  await Promise.all(Array.from({ length: atOnce }, one))
  return digests
}

async function work(plan: RebuildPlan, { images }: ReadCluster, options: RebuildOptions): Promise<Executed> {
  const { client, namespace, parallel, failFast, signal, say } = options
  if (plan.steps.length === 0) return { results: [], peak: 0 }
  const logger = createLogger({ level: 'silent' })
  const endings = await watchEndings({ client, namespace, logger, signal })
  const { length: all } = plan.steps
  let done = 0
  try {
    return await execute(plan, images, {
      ...{ parallel, failFast, signal },
      rebuild: (step, moved, made) => rebuildOne(client, endings, step, moved, made),
      onBegin: ({ image }, running) => say(`begun   ${image.names[0]} (${running} run)`),
      onEnd: ({ image, result, node, seconds, reason }) => {
        const where = node === undefined ? '' : ` on ${node}`
        const long = seconds === undefined ? '' : `, ${seconds} s`
        say(`${result} ${image.names[0]}${where}${long} [${++done}/${all}]${reason === undefined ? '' : `: ${reason}`}`)
      },
    })
  } finally {
    await endings.stop()
  }
}

/** Rebuilds are many, and nobody but us deletes them. */
async function tidy({ client, namespace, keep, say }: RebuildOptions): Promise<void> {
  const { builds } = buildResources
  try {
    for (const { metadata } of beyondKept(
      await client.list<Build>(builds, { namespace, labelSelector: rebuildOfLabel }),
      keep,
    )) {
      await client.delete(builds, { namespace: metadata?.namespace, name: metadata?.name }, { uid: metadata?.uid })
    }
  } catch (error) {
    say(`former rebuilds stay: ${describeError(error)}`)
  }
}
