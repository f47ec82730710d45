import { configMaps, serviceAccounts } from '../../api/names.ts'
import { InsituError } from '../../kernel/errors.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import type { KubernetesObject as AnyObject } from '../../kernel/k8s/objects.ts'
import { type KubernetesObject, objectName, partOf } from '../manifests/object.ts'
import { isReadyNode, type Node } from './objects.ts'
import { isUsersCa } from './own-ca.ts'
import { missingGrants } from './role-rights.ts'

const floor = { major: 1, minor: 30 }

/** @throws InsituError OLD_KUBERNETES */
export function checkVersion(gitVersion: string): void {
  const [, major, minor] = /^v(\d+)\.(\d+)/.exec(gitVersion) ?? []
  if (Number(major) > floor.major || (Number(major) === floor.major && Number(minor) >= floor.minor)) return
  throw new InsituError('OLD_KUBERNETES', `this is Kubernetes ${gitVersion}: insitu needs 1.30 or later`, {
    status: 'FAILED_PRECONDITION',
    fix: 'Admission policies and tokens that name their node came with 1.30: upgrade the cluster.',
  })
}

/** The nodes that will get an agent: ready Linux nodes with these labels and no taint that keeps it away. */
export function agentNodes(
  nodes: readonly Node[],
  selector: Readonly<Record<string, string>>,
  tolerates: (taint: { key: string; effect: string }) => boolean,
): Node[] {
  return nodes.filter(
    (node) =>
      isReadyNode(node) &&
      (node.status?.nodeInfo?.operatingSystem ?? 'linux') === 'linux' &&
      Object.entries(selector).every(([key, value]) => node.metadata?.labels?.[key] === value) &&
      // The DaemonSet controller tolerates Kubernetes' own conditions by itself.
      (node.spec?.taints ?? []).every(
        (taint) =>
          taint.effect === 'PreferNoSchedule' || taint.key.startsWith('node.kubernetes.io/') || tolerates(taint),
      ),
  )
}

/** What we may not do of what an installation needs, one line each. What its roles grant is part of it. */
export async function missingRights(client: KubernetesClient, objects: readonly KubernetesObject[]): Promise<string[]> {
  const everything = { group: '*', version: '*', plural: '*', namespaced: false }
  if (await client.allowed({ verb: '*', resource: everything })) return []
  const missing: string[] = []
  for (const object of objects) {
    const resource = await client.resource(object.apiVersion, object.kind)
    const namespace = resource.namespaced ? object.metadata.namespace : undefined
    for (const verb of ['create', 'patch', 'delete']) {
      const query = { verb, resource, name: object.metadata.name, ...(namespace === undefined ? {} : { namespace }) }
      if (!(await client.allowed(query))) missing.push(`${verb} ${objectName(object)}`)
    }
  }
  return missing.length > 0 ? missing : missingGrants(client, objects)
}

/**
 * Objects with our names that are not ours.
 * @throws InsituError FOREIGN_OBJECTS
 */
export async function checkForeign(
  client: KubernetesClient,
  objects: readonly KubernetesObject[],
  namespace: string,
): Promise<void> {
  const foreign: string[] = []
  for (const object of objects) {
    // The namespace may be the user's own; of the two ConfigMaps one is only written when the user gives
    // its content, and the other one is looked into (plaintext-config.ts).
    const theirs: readonly string[] = [configMaps.buildkitd, configMaps.insitu]
    if (object.kind === 'Namespace' || (object.kind === 'ConfigMap' && theirs.includes(object.metadata.name))) continue
    const resource = await client.resource(object.apiVersion, object.kind)
    const ref = { namespace: object.metadata.namespace, name: object.metadata.name }
    const existing = await client.find<AnyObject>(resource, ref)
    if (existing && !isOurs(existing) && !isUsersCa(object.kind, existing)) foreign.push(objectName(object))
  }
  if (foreign.length > 0) {
    throw new InsituError('FOREIGN_OBJECTS', `these exist and are not insitu's: ${foreign.join(', ')}`, {
      status: 'ALREADY_EXISTS',
      fix: 'Delete them, or choose another namespace with --namespace.',
    })
  }
  const binding = await client.find<AnyObject & { subjects?: readonly { namespace?: string }[] }>(
    await client.resource('rbac.authorization.k8s.io/v1', 'ClusterRoleBinding'),
    { name: serviceAccounts.gateway },
  )
  const elsewhere = binding?.subjects?.find((subject) => subject.namespace !== namespace)?.namespace
  if (elsewhere !== undefined) {
    throw new InsituError('INSTALLED_ELSEWHERE', `insitu is installed in namespace ${elsewhere} already`, {
      status: 'ALREADY_EXISTS',
      fix: `There can be one per cluster: insitu uninstall --namespace ${elsewhere}, or install there.`,
    })
  }
}

/** Whether an object carries the label of an installation. */
export const isOurs = (object: AnyObject): boolean =>
  Object.entries(partOf).every(([key, value]) => object.metadata?.labels?.[key] === value)
