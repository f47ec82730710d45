import { buildResources } from '../../api/builds/builds.ts'
import { workspaceFinalizer } from '../../api/builds/work.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import { isNotFound } from '../../kernel/k8s/failure.ts'
import { say } from './connect.ts'
import { listBuilds } from './made-objects.ts'

/** Without a controller nobody would let go of Builds, and neither they nor their kind would ever be gone. */
export async function releaseBuilds(client: Pick<KubernetesClient, 'list' | 'patch'>): Promise<void> {
  for (const { metadata } of await listBuilds(client)) {
    const { namespace, name, finalizers = [] } = metadata ?? {}
    if (!finalizers.includes(workspaceFinalizer)) continue
    const others = finalizers.filter((one) => one !== workspaceFinalizer)
    try {
      await client.patch(buildResources.builds, { namespace, name }, { metadata: { finalizers: others } })
    } catch (error) {
      // Its owner, or its namespace, has gone since the list.
      if (isNotFound(error)) continue
      throw error
    }
    say(`  Build ${namespace}/${name}: its directory on the claim stays`)
  }
}
