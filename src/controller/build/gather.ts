import type { Build, Recipe } from '../../api/builds/builds.ts'
import type { PodTemplate } from '../../api/builds/pod-template.ts'
import type { BasicAuth } from '../../api/builds/work.ts'
import { configMaps, labels, secretReader, serviceAccounts } from '../../api/names.ts'
import { InsituError } from '../../kernel/errors.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import { isForbidden } from '../../kernel/k8s/failure.ts'
import type { KubernetesObject } from '../../kernel/k8s/objects.ts'
import { resources } from '../../kernel/k8s/resources.ts'
import { parseYaml } from '../../kernel/k8s/yaml.ts'

/** What a Job needs to know of other objects. No contents of Secrets: those stay in them. */
export interface Gathered {
  readonly registrySecrets: readonly string[]
  readonly basicAuth: readonly BasicAuth[]
  /** Secrets that we may not look at. */
  readonly unread: readonly string[]
  readonly podTemplate: PodTemplate | undefined
  readonly ca: string
}

interface ServiceAccount extends KubernetesObject {
  readonly secrets?: readonly { readonly name?: string }[]
  readonly imagePullSecrets?: readonly { readonly name?: string }[]
}
interface Secret extends KubernetesObject {
  readonly type?: string
}
interface ConfigMap extends KubernetesObject {
  readonly data?: Readonly<Record<string, string>>
}

const invalid = (message: string): InsituError =>
  new InsituError('INVALID_SPEC', message, { status: 'FAILED_PRECONDITION' })

/** @throws InsituError INVALID_SPEC for what the author can mend, KubernetesError for the rest. */
export async function gather(
  client: KubernetesClient,
  build: Build,
  recipe: Recipe,
  ownNamespace: string,
): Promise<Gathered> {
  const namespace = build.metadata?.namespace
  const account = recipe.serviceAccountName ?? 'default'
  const found = await client.find<ServiceAccount>(resources.serviceAccounts, { namespace, name: account })
  if (!found) throw invalid(`ServiceAccount ${account} does not exist`)
  const names = [...(found.secrets ?? []), ...(found.imagePullSecrets ?? [])].flatMap(({ name }) => name ?? [])
  const secrets = await Promise.all([...new Set(names)].map((name) => readSecret(client, namespace, name)))
  const usable = secrets.filter((secret) => secret !== undefined)
  const ca = await client.find<ConfigMap>(resources.configMaps, { namespace: ownNamespace, name: configMaps.ca })
  const pem = ca?.data?.['ca.crt']
  if (!pem) {
    throw new InsituError('CA_MISSING', `ConfigMap ${ownNamespace}/${configMaps.ca} holds no CA`, {
      status: 'UNAVAILABLE',
      fix: `a gateway writes it once it is ready: kubectl -n ${ownNamespace} get pods -l ${labels.role}=gateway`,
    })
  }
  return {
    registrySecrets: usable.map(({ name }) => name),
    basicAuth: usable.flatMap(({ name, servers = [] }) => (servers.length === 0 ? [] : [{ secret: name, servers }])),
    unread: usable.flatMap(({ name, servers }) => (servers === undefined ? [name] : [])),
    podTemplate: await podTemplateOf(client, namespace, recipe),
    ca: pem,
  }
}

interface RegistrySecret {
  readonly name: string
  /** Undefined: nobody gave us the right to know. */
  readonly servers: readonly string[] | undefined
}

/** The command that lets the controller of `ownNamespace` read the Secrets of one namespace. */
export const grantSecrets = (namespace: string, ownNamespace: string): string =>
  `kubectl -n ${namespace} create rolebinding ${secretReader} --clusterrole=${secretReader} ` +
  `--serviceaccount=${ownNamespace}:${serviceAccounts.controller}`

/** Which registries a Secret is for. Its contents come to the pod as files, through the kubelet. */
async function readSecret(
  client: KubernetesClient,
  namespace: string | undefined,
  name: string,
): Promise<RegistrySecret | undefined> {
  try {
    const secret = await client.find<Secret>(resources.secrets, { namespace, name })
    if (secret?.type === 'kubernetes.io/service-account-token') return undefined
    const annotations = Object.entries(secret?.metadata?.annotations ?? {})
    const servers = annotations.filter(([key]) => /^(build\.knative|tekton)\.dev\/docker-\d+$/.test(key))
    return secret === undefined ? undefined : { name, servers: servers.map(([, server]) => server) }
  } catch (error) {
    // The usual case: docker-registry Secrets say in the pod what they are for, and it is the pod that sees the others.
    if (isForbidden(error)) return { name, servers: undefined }
    throw error
  }
}

/** @throws InsituError INVALID_SPEC when its ConfigMap is not there, or holds something else. */
export const podTemplateOf = async (
  client: KubernetesClient,
  namespace: string | undefined,
  recipe: Recipe,
): Promise<PodTemplate | undefined> => recipe.podTemplate ?? (await fromConfigMap(client, namespace, recipe))

async function fromConfigMap(
  client: KubernetesClient,
  namespace: string | undefined,
  { podTemplateFrom }: Recipe,
): Promise<PodTemplate | undefined> {
  if (podTemplateFrom === undefined) return undefined
  const { configMap, key = 'podtemplate.yaml' } = podTemplateFrom
  const map = await client.find<ConfigMap>(resources.configMaps, { namespace, name: configMap })
  const text = map?.data?.[key]
  if (text === undefined) throw invalid(`ConfigMap ${configMap} with the key ${key} does not exist`)
  let parsed: unknown
  try {
    ;[parsed] = parseYaml(text)
  } catch (error) {
    throw invalid(`ConfigMap ${configMap}, key ${key}: ${error instanceof Error ? error.message : String(error)}`)
  }
  // A Pod, a PodTemplate or what stands in a Job: people keep all three in ConfigMaps.
  const { template, metadata, spec } = (parsed ?? {}) as PodTemplate & { readonly template?: PodTemplate }
  const { labels, annotations } = template?.metadata ?? metadata ?? {}
  const pod = template?.spec ?? spec
  return {
    metadata: { ...(labels ? { labels } : {}), ...(annotations ? { annotations } : {}) },
    ...(pod === undefined ? {} : { spec: pod }),
  }
}
