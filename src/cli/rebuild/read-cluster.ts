import { type Build, type BuildTemplate, buildResources } from '../../api/builds/builds.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import { isForbidden } from '../../kernel/k8s/failure.ts'
import type { Resource } from '../../kernel/k8s/resources.ts'
import { buildId, type Image, readImages } from './images.ts'
import { originOf } from './lineage.ts'

export interface Scope {
  readonly client: KubernetesClient
  /** Undefined: all. */
  readonly namespace: string | undefined
  /** Labels of the Builds that may be rebuilt. */
  readonly selector: string | undefined
  readonly signal: AbortSignal
}

export interface ReadCluster {
  readonly images: readonly Image[]
  readonly selected: (image: Image) => boolean
}

/** The images that Builds make. Of templates that may not be read there are none, which each image says that needs one. */
export async function readCluster({ client, namespace, selector, signal }: Scope): Promise<ReadCluster> {
  const templates = async (resource: Resource, kind: string): Promise<(readonly [string, BuildTemplate])[]> => {
    const where = resource.namespaced ? { namespace } : {}
    const found = await client.list<BuildTemplate>(resource, { ...where, signal }).catch((error: unknown) => {
      if (isForbidden(error)) return []
      throw error
    })
    return found.map((one) => {
      const { namespace: home, name } = one.metadata ?? {}
      return [`${kind}/${resource.namespaced ? `${home}/` : ''}${name}`, one] as const
    })
  }
  const [builds, chosen, own, shared] = await Promise.all([
    client.list<Build>(buildResources.builds, { namespace, signal }),
    selector === undefined
      ? undefined
      : client.list<Build>(buildResources.builds, { namespace, labelSelector: selector, signal }),
    templates(buildResources.buildTemplates, 'BuildTemplate'),
    templates(buildResources.clusterBuildTemplates, 'ClusterBuildTemplate'),
  ])
  return {
    images: readImages(builds, new Map([...own, ...shared])),
    selected: chosen === undefined ? () => true : amongThese(chosen),
  }
}

/** Images of these Builds, and of their rebuilds, which do not have all of their labels. */
export function amongThese(chosen: readonly Build[]): ReadCluster['selected'] {
  const ids = new Set(chosen.map(buildId))
  return ({ id, build }) => ids.has(id) || ids.has(`${build.metadata?.namespace}/${originOf(build)}`)
}
