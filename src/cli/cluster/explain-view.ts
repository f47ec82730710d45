import { normalizeReference, repositoryOf } from '../../buildkit/reference.ts'
import { listAgents } from '../../gateway/directory/kubernetes.ts'
import { explain, type ExplainedNode } from '../../gateway/placement/explain.ts'
import { createKubernetesPlacer } from '../../gateway/placement/kubernetes.ts'
import type { Decision } from '../../gateway/placement/place.ts'
import { watchCluster } from '../../gateway/placement/view.ts'
import { checkCanStay } from '../../gateway/relay/choose.ts'
import { readPlatforms } from '../../gateway/split/wishes.ts'
import { InsituError } from '../../kernel/errors.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import { createLogger } from '../../kernel/log.ts'
import { type ExplainedBuild, explainParts, partsText } from './explain-parts.ts'
import { table } from './table.ts'

export interface ExplainOptions {
  readonly client: KubernetesClient
  /** Where the agents are. */
  readonly namespace: string
  readonly image: string | undefined
  /** `--for`; its namespace defaults to the context's. */
  readonly workload: string | undefined
  readonly node: string | undefined
  readonly platforms: readonly string[]
  /** The build pushes its image: it need not stay on its node. */
  readonly push: boolean
  /** Remarks for the terminal. */
  readonly say: (line: string) => void
}

/**
 * Takes a fresh picture of the cluster and decides as a gateway would.
 * @throws InsituError when the picture cannot be taken; a refused build is part of the result.
 */
export async function explainNow(options: ExplainOptions): Promise<ExplainedBuild> {
  const { client, image } = options
  const { platforms } = readPlatforms(options.platforms, {})
  const images = image === undefined ? [] : [normalizeReference(image)]
  const request = {
    images,
    platforms,
    node: options.node,
    workload: options.workload,
    namespace: client.namespace,
    stays: images.length > 0 && !options.push,
    cacheKey: images[0] === undefined ? '' : repositoryOf(images[0]),
  }
  const agents = await listAgents(client, options.namespace)
  const logger = createLogger({ level: 'error' })
  const view = watchCluster({ client, logger, agents: () => agents })
  try {
    await view.whenSynced(AbortSignal.timeout(60_000))
    await view.whenComplete(AbortSignal.timeout(10_000)).catch(() => {
      options.say('not every kind of workload can be read: what their templates say is left out')
    })
    const placer = createKubernetesPlacer({ client, view, logger })
    const decide = async (): Promise<Decision> => {
      if (request.stays) checkCanStay([...agents.values()])
      return placer.decide(request)
    }
    const outcome = await decide().catch((error: unknown) => {
      if (error instanceof InsituError) return error
      throw error
    })
    return await explainParts(view, placer, explain(view, request, outcome))
  } finally {
    await view.stop()
  }
}

/** For people: the decision in a sentence, then every node. */
export function explanationText(explained: ExplainedBuild): string {
  const { request, placement, refusal, nodes, whole } = explained
  const what = request.images[0] ?? request.workload ?? 'a build'
  const head = placement
    ? [
        `${what} would be built on ${whole ? 'several nodes at once' : `node ${placement.node}`}`,
        ...partsText(explained),
        ...(whole ? [] : [`  rule ${placement.rule}: ${placement.reason}`]),
        `  will run on: ${placement.targets.join(', ')}`,
      ]
    : [`${what} would be refused: ${refusal?.message ?? ''}`, ...(refusal?.fix ? [`  fix: ${refusal.fix}`] : [])]
  const score = (n: ExplainedNode): string[] =>
    n.score ? [String(n.score.native), (n.score.cache / 2 ** 32).toFixed(3)] : ['-', '-']
  const rows = nodes.map((n) => [n.node, n.verdict, ...score(n), n.reason ?? ''])
  return [...head, '', table([['NODE', 'VERDICT', 'NATIVE', 'CACHE', 'REASON'], ...rows])].join('\n')
}
