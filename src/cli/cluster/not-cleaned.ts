import { annotations, configMaps } from '../../api/names.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import { isNotFound } from '../../kernel/k8s/failure.ts'
import type { KubernetesObject } from '../../kernel/k8s/objects.ts'
import { resources } from '../../kernel/k8s/resources.ts'
import { defaultBuildkitRoot, defaultOptions } from '../manifests/options.ts'
import type { Workload } from './objects.ts'
import { patiently } from './patient.ts'

/** How the agents were told to work. */
export interface AgentsWay {
  readonly image: string
  /** Absent in what an older release remembered. */
  readonly imagePullSecrets?: readonly string[]
  readonly buildkitRoot: string
  readonly containerdAddress: string | undefined
}

/** What an uninstall that did not get to its end, or not to every node, leaves to the next one. */
export interface NotCleaned {
  /** Undefined: any node may be among them. */
  readonly nodes?: readonly string[]
  readonly way: AgentsWay
}

/** Bytes; all annotations of an object have 256 KiB together. */
const room = 200_000

/** Keeps it in an annotation of the ConfigMap that goes last. Without that there is nowhere to keep it. */
export async function rememberNotCleaned(client: KubernetesClient, namespace: string, what: NotCleaned): Promise<void> {
  const all = JSON.stringify(what)
  const text = all.length < room ? all : JSON.stringify({ way: what.way })
  await annotate(client, namespace, text)
}

/** After a new installation its DaemonSet tells where agents are and how they work, and no more what an earlier one left. */
export const forgetNotCleaned = (client: KubernetesClient, namespace: string): Promise<void> =>
  annotate(client, namespace, null)

async function annotate(client: KubernetesClient, namespace: string, text: string | null): Promise<void> {
  const body = { metadata: { annotations: { [annotations.notCleaned]: text } } }
  const ref = { namespace, name: configMaps.ca }
  await patiently(() => client.patch(resources.configMaps, ref, body)).catch((error: unknown) => {
    if (!isNotFound(error)) throw error
  })
}

export async function readNotCleaned(client: KubernetesClient, namespace: string): Promise<NotCleaned | undefined> {
  const map = await client.find<KubernetesObject>(resources.configMaps, { namespace, name: configMaps.ca })
  const text = map?.metadata?.annotations?.[annotations.notCleaned]
  return text === undefined ? undefined : (JSON.parse(text) as NotCleaned)
}

/** Read from the agents' DaemonSet. */
export function wayOf(daemonSet: Workload | undefined): AgentsWay {
  const pod = daemonSet?.spec?.template?.spec
  const container = pod?.containers?.[0]
  const argument = (name: string): string | undefined => {
    const at = container?.args?.indexOf(name) ?? -1
    return at < 0 ? undefined : container?.args?.[at + 1]
  }
  return {
    image: container?.image ?? defaultOptions().image,
    imagePullSecrets: (pod?.imagePullSecrets ?? []).map(({ name }) => name),
    buildkitRoot: argument('--root') ?? defaultBuildkitRoot,
    containerdAddress: argument('--containerd-address'),
  }
}
