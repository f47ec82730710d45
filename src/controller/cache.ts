import { type Build, type BuildTemplate, buildResources } from '../api/builds/builds.ts'
import { buildUidLabel } from '../api/builds/work.ts'
import { annotations, labels } from '../api/names.ts'
import type { KubernetesClient } from '../kernel/k8s/client.ts'
import type { KubernetesObject } from '../kernel/k8s/objects.ts'
import { type Resource, resources } from '../kernel/k8s/resources.ts'
import { type ResourceWatch, watchResource, type WatchOptions } from '../kernel/k8s/watch.ts'
import type { Logger } from '../kernel/log.ts'
import { createLastWords } from './last-words.ts'
import { readJob, readPod, type PodView, type View } from './view.ts'

export interface CacheOptions {
  readonly client: KubernetesClient
  /** Where the agents are. */
  readonly namespace: string
  readonly logger: Logger
  /** Something is different now. */
  readonly onChange: () => void
}

export interface Cache {
  view(): View
  readonly synced: boolean
  whenSynced(signal?: AbortSignal): Promise<void>
  stop(): Promise<void>
}

/** Watches what decisions are made of. Of Jobs and pods only those with our label are asked for. */
export function createCache({ client, namespace, logger, onChange }: CacheOptions): Cache {
  const watch = <T>(
    resource: Resource,
    pick: (object: KubernetesObject) => T | undefined,
    more: Pick<WatchOptions<KubernetesObject, T>, 'labelSelector' | 'namespace' | 'onDelete'> = {},
  ): ResourceWatch<T> =>
    watchResource<KubernetesObject, T>({
      ...{ client, resource, pick, logger },
      onUpsert: onChange,
      onDelete: onChange,
      onSynced: onChange,
      ...more,
    })
  const builds = watch(buildResources.builds, (one) => one as Build)
  const templates = watch(buildResources.buildTemplates, (one) => one as BuildTemplate)
  const clusterTemplates = watch(buildResources.clusterBuildTemplates, (one) => one as BuildTemplate)
  const jobs = watch(resources.jobs, readJob, { labelSelector: buildUidLabel })
  const lastWords = createLastWords()
  const pods = watch(resources.pods, readPod, {
    labelSelector: buildUidLabel,
    onDelete(key, pod) {
      lastWords.keep(key, pod)
      onChange()
    },
  })
  const agents = watch(resources.pods, canBuild, { labelSelector: `${labels.role}=agent`, namespace })
  const all = [builds, templates, clusterTemplates, jobs, pods, agents]

  return {
    view() {
      const byJob = new Map<string, PodView[]>()
      for (const [key, pod] of new Map([...lastWords.pods, ...pods.items])) {
        const at = `${key.slice(0, key.indexOf('/'))}/${pod.job}`
        byJob.set(at, [...(byJob.get(at) ?? []), pod])
      }
      return {
        builds: [...builds.items.values()],
        templates: new Map([
          ...[...templates.items].map(([key, one]) => [`BuildTemplate/${key}`, one] as const),
          ...[...clusterTemplates.items].map(([key, one]) => [`ClusterBuildTemplate/${key}`, one] as const),
        ]),
        jobs: jobs.items,
        pods: byJob,
        buildNodes: [...agents.items.values()].filter(Boolean).length,
      }
    },
    get synced() {
      return all.every((one) => one.synced)
    },
    async whenSynced(signal) {
      await Promise.all(all.map((one) => one.whenSynced(signal)))
    },
    async stop() {
      await Promise.all(all.map((one) => one.stop()))
    },
  }
}

/** Whether the daemon of an agent takes builds, as it says itself. */
function canBuild(pod: KubernetesObject): true | undefined {
  const text = pod.metadata?.annotations?.[annotations.nodeReport]
  if (text === undefined || pod.metadata?.deletionTimestamp !== undefined) return undefined
  try {
    return (JSON.parse(text) as { readonly ready?: boolean }).ready === true ? true : undefined
  } catch {
    return undefined
  }
}
