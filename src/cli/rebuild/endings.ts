import { type Build, buildResources } from '../../api/builds/builds.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import type { KubernetesObject } from '../../kernel/k8s/objects.ts'
import { watchResource } from '../../kernel/k8s/watch.ts'
import type { Logger } from '../../kernel/log.ts'

export interface Endings {
  /**
   * Waits for the end of a Build, by its `NAMESPACE/NAME` and UID. Undefined when it was deleted.
   * @throws the signal's reason
   */
  of(id: string, uid: string): Promise<Build | undefined>
  stop(): Promise<void>
}

interface EndingsOptions {
  readonly client: KubernetesClient
  readonly namespace: string | undefined
  readonly logger: Logger
  readonly signal: AbortSignal
}

/** One watch for all Builds that are waited for. */
export async function watchEndings({ client, namespace, logger, signal }: EndingsOptions): Promise<Endings> {
  const waiting = new Map<string, { readonly uid: string; readonly done: PromiseWithResolvers<Build | undefined> }>()
  const settle = (id: string, build: Build | undefined): void => {
    const waiter = waiting.get(id)
    if (waiter === undefined) return
    const gone = build === undefined || build.metadata?.uid !== waiter.uid
    if (!gone && build.status?.completionTime === undefined) return
    waiting.delete(id)
    waiter.done.resolve(gone ? undefined : build)
  }
  const watch = watchResource<KubernetesObject, Build>({
    ...{ client, resource: buildResources.builds, namespace, logger },
    pick: (one) => one as Build,
    onUpsert: settle,
    onDelete: (id, last) => settle(id, last.status?.completionTime === undefined ? undefined : last),
  })
  signal.addEventListener('abort', () => {
    for (const { done } of waiting.values()) done.reject(signal.reason as Error)
  })
  await watch.whenSynced(signal)
  return {
    of(id, uid) {
      const done = Promise.withResolvers<Build | undefined>()
      waiting.set(id, { uid, done })
      const known = watch.items.get(id)
      if (known?.metadata?.uid === uid) settle(id, known)
      if (signal.aborted) done.reject(signal.reason as Error)
      return done.promise
    },
    stop: () => watch.stop(),
  }
}
