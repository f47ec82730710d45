import { type Build, buildResources } from '../../api/builds/builds.ts'
import { workspaceFinalizer } from '../../api/builds/work.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import { isNotFound } from '../../kernel/k8s/failure.ts'
import { say } from './connect.ts'

/** Without a controller nobody would let go of Builds, and neither they nor their kind would ever be gone. */
export async function releaseBuilds(client: KubernetesClient): Promise<void> {
  let builds: Build[]
  try {
    builds = await client.list<Build>(buildResources.builds)
  } catch (error) {
    if (isNotFound(error)) return
    throw error
  }
  for (const { metadata } of builds) {
    const { namespace, name, finalizers = [] } = metadata ?? {}
    if (!finalizers.includes(workspaceFinalizer)) continue
    const others = finalizers.filter((one) => one !== workspaceFinalizer)
    await client.patch(buildResources.builds, { namespace, name }, { metadata: { finalizers: others } })
    say(`  Build ${namespace}/${name}: its directory on the claim stays`)
  }
}
