import { InsituError } from '../../kernel/errors.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import type { Logger } from '../../kernel/log.ts'
import { wakePods } from '../wake/wake.ts'
import { nativeFirst } from './native-first.ts'
import { place, type Decision } from './place.ts'
import type { PlacementRequest, Placer } from './placer.ts'
import { rememberPools } from './pool.ts'
import { findSubject, parseWorkload } from './subject.ts'
import type { LiveView } from './view.ts'

export interface KubernetesPlacer extends Placer {
  /** As `place`, with everything that led to the decision. */
  decide(request: PlacementRequest): Promise<Decision>
}

export interface KubernetesPlacerOptions {
  readonly client: KubernetesClient
  readonly view: LiveView
  readonly logger: Logger
  /** Milliseconds a build waits for the first picture of the cluster. Default 15,000. */
  readonly patience?: number
}

/** Places builds by the design's five rules over a live view, and wakes the pods that waited for what was built. */
export function createKubernetesPlacer(options: KubernetesPlacerOptions): KubernetesPlacer {
  const { client, view, logger, patience = 15_000 } = options

  const pools = rememberPools(view)

  async function decide(request: PlacementRequest): Promise<Decision> {
    if (!view.synced) await waitForView(view, patience)
    const subject =
      request.workload === undefined || request.node !== undefined
        ? undefined
        : await findSubject(parseWorkload(request.workload, request.namespace ?? 'default'), view, client)
    return nativeFirst(request, view, (asked) =>
      place({
        view,
        request: asked,
        subject,
        pool: pools(asked.platforms, asked),
        repositoryOf: (image) => view.images.repository(image),
      }),
    )
  }
  return {
    decide,
    place: async (request) => (await decide(request)).placement,
    leaving(name) {
      const node = view.nodes.get(name)
      if (!node && view.synced) return 'it is not in the cluster any more'
      return node?.leaving
    },
    async built(placement, images) {
      await wakePods({ client, view, logger }, [placement.node], images)
    },
  }
}

async function waitForView(view: LiveView, patience: number): Promise<void> {
  const timeout = AbortSignal.timeout(patience)
  try {
    await view.whenSynced(timeout)
  } catch (cause) {
    throw new InsituError('VIEW_NOT_READY', 'the gateway has no complete picture of the cluster yet', {
      status: 'UNAVAILABLE',
      fix: 'Look at the log of the gateway: it says which resource it cannot read.',
      cause,
    })
  }
}
