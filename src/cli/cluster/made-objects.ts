import { type Build, buildResources } from '../../api/builds/builds.ts'
import { UsageError } from '../../kernel/errors.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import { isNotFound } from '../../kernel/k8s/failure.ts'
import type { KubernetesObject } from '../../kernel/k8s/objects.ts'

/** What people have made of our kinds, in all namespaces. */
export interface MadeObjects {
  /** `2 Builds, 1 ClusterBuildTemplate`; empty: nothing. */
  readonly text: string
  readonly namespaces: ReadonlySet<string>
}

const kinds = {
  builds: 'Build',
  buildTemplates: 'BuildTemplate',
  clusterBuildTemplates: 'ClusterBuildTemplate',
} as const

/** Counts Builds and templates. A kind that is not there has none. */
export async function madeObjects(client: Pick<KubernetesClient, 'list'>): Promise<MadeObjects> {
  const found = await Promise.all(
    Object.entries(kinds).map(async ([resource, kind]) => {
      const objects = await listOrNone<KubernetesObject>(client, resource as keyof typeof kinds)
      return { kind, objects }
    }),
  )
  return {
    text: found
      .flatMap(({ kind, objects: { length } }) => (length === 0 ? [] : [`${length} ${kind}${length === 1 ? '' : 's'}`]))
      .join(', '),
    namespaces: new Set(found.flatMap(({ objects }) => objects.flatMap(({ metadata }) => metadata?.namespace ?? []))),
  }
}

/**
 * The kinds take every object with them, and no built image tells how it was made.
 * @throws UsageError when nobody has said that these may go.
 */
export function refuseLoss({ text }: MadeObjects): void {
  if (text === '') return
  throw new UsageError(`this would delete ${text} of all namespaces`, {
    fix: '--keep-builds leaves them and their kinds in the cluster, --delete-builds deletes them. A copy: kubectl get builds.insitu.build,buildtemplates,clusterbuildtemplates -A -o yaml',
  })
}

/** Builds of all namespaces. */
export const listBuilds = (client: Pick<KubernetesClient, 'list'>): Promise<Build[]> => listOrNone(client, 'builds')

async function listOrNone<T extends KubernetesObject>(
  client: Pick<KubernetesClient, 'list'>,
  resource: keyof typeof kinds,
): Promise<T[]> {
  try {
    return await client.list<T>(buildResources[resource])
  } catch (error) {
    if (isNotFound(error)) return []
    throw error
  }
}
