import { describeError } from '../../kernel/errors.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import type { KubernetesObject } from '../../kernel/k8s/objects.ts'
import { resources } from '../../kernel/k8s/resources.ts'
import type { Logger } from '../../kernel/log.ts'
import type { ClusterView, PodFacts } from '../placement/cluster.ts'
import { backingOff } from '../wake/wake.ts'

/** core/v1 Event, as far as it is read. */
export interface PodEvent extends KubernetesObject {
  readonly reason?: string
  readonly message?: string
  readonly count?: number
  readonly lastTimestamp?: string | null
  readonly eventTime?: string | null
  readonly series?: { readonly count?: number; readonly lastObservedTime?: string }
}

/** Pods that an annotation does not wake: the kubelet pulls for them (policy Always) and waits out its back-off first. */
export function podsBackingOff(view: Pick<ClusterView, 'waitingFor'>, images: readonly string[]): readonly PodFacts[] {
  const pods = new Set<PodFacts>()
  for (const image of images) {
    for (const pod of view.waitingFor(image)) {
      const stuck = pod.waiting.some(
        (w) => w.image === image && w.pullPolicy === 'Always' && backingOff.includes(w.reason),
      )
      if (stuck) pods.add(pod)
    }
  }
  return [...pods]
}

/**
 * When the kubelet pulls again, from a pod's events. The back-off of a pod's image is 10 s after the first failure and
 * doubles up to 5 min (MaxContainerBackOff and backOffPeriod, pkg/kubelet/kubelet.go); the pod's worker looks at it
 * every ten to fifteen seconds, so the try itself is a little later.
 * @returns milliseconds since 1970; undefined when the events do not tell.
 */
export function nextPull(events: readonly PodEvent[]): number | undefined {
  let failures = 0
  let last: number | undefined
  for (const event of events) {
    if (event.reason !== 'Failed' || !event.message?.startsWith('Failed to pull')) continue
    failures += event.series?.count ?? event.count ?? 1
    const at = Date.parse(event.series?.lastObservedTime ?? event.lastTimestamp ?? event.eventTime ?? '')
    if (Number.isFinite(at)) last = Math.max(last ?? 0, at)
  }
  if (last === undefined || failures === 0) return undefined
  return last + Math.min(10_000 * 2 ** (failures - 1), 300_000)
}

/** One line for each pod that starts only at its kubelet's next try. Never throws. */
export async function describeBackOff(
  client: Pick<KubernetesClient, 'list'>,
  pods: readonly PodFacts[],
  logger: Logger,
  now: () => number = Date.now,
): Promise<readonly string[]> {
  return Promise.all(
    pods.slice(0, 20).map(async ({ namespace, name, node }) => {
      const who = `pod ${namespace}/${name} on node ${node} was already in back-off (policy Always)`
      try {
        const fieldSelector = `involvedObject.name=${name}`
        const events = await client.list<PodEvent>(resources.events, { namespace, fieldSelector, timeout: 2000 })
        const next = nextPull(events)
        if (next !== undefined) {
          const seconds = Math.max(0, Math.round((next - now()) / 1000))
          return `${who}: its kubelet tries again at ${new Date(next).toISOString().slice(11, 19)} UTC, in ${seconds} s`
        }
      } catch (error) {
        logger.debug({ pod: `${namespace}/${name}`, err: describeError(error) }, 'the events of a pod cannot be read')
      }
      return `${who}: its kubelet tries again within five minutes`
    }),
  )
}
