import type { Build } from '../api/builds/builds.ts'
import type { KubernetesClient } from '../kernel/k8s/client.ts'
import { isForbidden } from '../kernel/k8s/failure.ts'
import type { KubernetesObject } from '../kernel/k8s/objects.ts'
import { resources } from '../kernel/k8s/resources.ts'
import type { PodRefusal } from './build/refused.ts'

/** Milliseconds between two questions about one Job, however often it is looked at. */
const pause = 10_000

/**
 * Asks for the events in which the Job controller says why it could make no pod. Only Jobs whose pod does not come are
 * asked about, so that events need not be watched.
 * @returns undefined: it was asked a moment ago, and nothing is new. None: nobody says why, or we may not read it.
 */
export function createPodRefusals(client: Pick<KubernetesClient, 'list'>, now: () => number) {
  const asked = new Map<string, number>()

  return async ({ metadata }: Build, job: string): Promise<readonly PodRefusal[] | undefined> => {
    for (const [key, at] of asked) if (at + pause <= now()) asked.delete(key)
    const key = `${metadata?.namespace}/${job}`
    if (asked.has(key)) return undefined
    asked.set(key, now())
    const fieldSelector = `involvedObject.kind=Job,involvedObject.name=${job},reason=FailedCreate`
    try {
      const { namespace } = metadata ?? {}
      return await client.list<KubernetesObject & PodRefusal>(resources.events, { namespace, fieldSelector })
    } catch (error) {
      if (isForbidden(error)) return []
      throw error
    }
  }
}
