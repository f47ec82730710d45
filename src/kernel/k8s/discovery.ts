import { InsituError } from '../errors.ts'
import type { CallOptions } from './call-options.ts'
import { isNotFound } from './failure.ts'
import type { Resource } from './resources.ts'

interface ResourceList {
  readonly resources?: readonly { readonly name: string; readonly kind: string; readonly namespaced: boolean }[]
}

/**
 * Finds the resource of a kind by asking the server, once per group version. A kind that is not there is asked for
 * again next time: its CustomResourceDefinition may have been applied a moment ago.
 */
export function createDiscovery(
  get: (path: string, options?: CallOptions) => Promise<unknown>,
): (apiVersion: string, kind: string, options?: CallOptions) => Promise<Resource> {
  const lists = new Map<string, ResourceList>()
  const load = async (apiVersion: string, options?: CallOptions): Promise<ResourceList> => {
    const path = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`
    try {
      return (await get(path, options)) as ResourceList
    } catch (error) {
      if (isNotFound(error)) return {}
      throw error
    }
  }
  return async (apiVersion, kind, options) => {
    const find = (list: ResourceList | undefined): Resource | undefined => {
      const found = list?.resources?.find((r) => r.kind === kind && !r.name.includes('/'))
      if (!found) return undefined
      const [group, version] = apiVersion.includes('/') ? apiVersion.split('/') : ['', apiVersion]
      return { group: group ?? '', version: version ?? '', plural: found.name, namespaced: found.namespaced }
    }
    const known = find(lists.get(apiVersion))
    if (known) return known
    const list = await load(apiVersion, options)
    lists.set(apiVersion, list)
    const fresh = find(list)
    if (fresh) return fresh
    throw new InsituError('K8S_UNKNOWN_KIND', `the cluster knows no ${kind} of ${apiVersion}`, {
      status: 'FAILED_PRECONDITION',
      fix: 'Apply the CustomResourceDefinition first, or use a cluster version that has this kind.',
    })
  }
}
