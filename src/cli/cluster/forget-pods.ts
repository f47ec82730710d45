import { annotations } from '../../api/names.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import { isExpired } from '../../kernel/k8s/failure.ts'
import type { ObjectList } from '../../kernel/k8s/objects.ts'
import { resources } from '../../kernel/k8s/resources.ts'
import type { Pod } from './objects.ts'
import { isPassing, patiently } from './patient.ts'

type Client = Pick<KubernetesClient, 'page' | 'patch'>

/** Takes our annotation off the pods we woke. */
export async function forgetPods(client: Client, say: (line: string) => void): Promise<void> {
  let token: string | undefined
  do {
    const page = await readPage(client, token)
    for (const pod of page.items) {
      if (pod.metadata?.annotations?.[annotations.imageReady] === undefined) continue
      const ref = { namespace: pod.metadata.namespace, name: pod.metadata.name }
      const body = { metadata: { annotations: { [annotations.imageReady]: null } } }
      await patiently(() => client.patch(resources.pods, ref, body)).catch((error: unknown) => {
        // Of an API server that is away the next run learns no more than this one.
        if (isPassing(error)) throw error
        say(`  pod ${ref.namespace}/${ref.name} keeps the annotation ${annotations.imageReady}`)
      })
    }
    token = page.metadata?.continue || undefined
  } while (token !== undefined)
}

/** Begins again where patching took longer than the server remembers the list: pods that are done have no annotation. */
async function readPage(client: Client, token: string | undefined): Promise<ObjectList<Pod>> {
  try {
    return await patiently(() => client.page<Pod>(resources.pods, { continue: token }))
  } catch (error) {
    if (token === undefined || !isExpired(error)) throw error
    return readPage(client, undefined)
  }
}
