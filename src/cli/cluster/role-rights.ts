import { isDeepStrictEqual } from 'node:util'
import type { AccessQuery, KubernetesClient } from '../../kernel/k8s/client.ts'
import { KubernetesError } from '../../kernel/k8s/failure.ts'
import type { KubernetesObject as AnyObject } from '../../kernel/k8s/objects.ts'
import { describeRef } from '../../kernel/k8s/resources.ts'
import { type KubernetesObject, objectName } from '../manifests/object.ts'

type Client = Pick<KubernetesClient, 'allowed' | 'find' | 'resource'>

interface Rule {
  readonly apiGroups: readonly string[]
  readonly resources: readonly string[]
  readonly resourceNames?: readonly string[]
  readonly verbs: readonly string[]
}

/** What whoever writes an object must have, because it hands that on. */
interface Handed {
  readonly object: KubernetesObject
  readonly text: string
  /** A right that does instead. */
  readonly instead?: AccessQuery
  readonly rules: readonly Rule[]
  /** Where the rules hold; undefined: everywhere. */
  readonly namespace?: string | undefined
}

const rbac = { group: 'rbac.authorization.k8s.io', version: 'v1' }
const roleKinds: Readonly<Record<string, AccessQuery['resource']>> = {
  Role: { ...rbac, plural: 'roles', namespaced: true },
  ClusterRole: { ...rbac, plural: 'clusterroles', namespaced: false },
}

/** Questions that are under way at the same time. */
const width = 16
/** Rights that are named of a role. */
const named = 3

/**
 * What this account cannot write although it may write the kind, one line each: nobody can make or bind a role that has
 * more than they have, nor have an admission policy read what they cannot.
 */
export async function missingGrants(client: Client, objects: readonly KubernetesObject[]): Promise<string[]> {
  const all = [...grants(objects), ...(await parameters(client, objects))]
  const free = await ask(
    client,
    all.flatMap(({ instead }) => instead ?? []),
  )
  const open: Handed[] = []
  for (const handed of all) {
    if (handed.instead && (free(handed.instead) || (await isThere(client, handed.object)))) continue
    open.push(handed)
  }
  const holds = await ask(client, open.flatMap(queries))
  return open.flatMap((handed) => {
    const missing = queries(handed).filter((query) => !holds(query))
    if (missing.length === 0) return []
    const texts = missing.slice(0, named).map((query) => `${query.verb} ${describeRef(query.resource, query)}`)
    const more = missing.length > named ? ` and ${missing.length - named} more` : ''
    return [`${handed.text} (${texts.join(', ')}${more})`]
  })
}

/** Of the roles that are made and bound by these objects. */
function grants(objects: readonly KubernetesObject[]): Handed[] {
  const roles = objects.filter(({ kind }) => kind in roleKinds)
  return objects.flatMap((object): Handed[] => {
    const { namespace } = object.metadata
    const made = roles.includes(object)
    const role = made ? object : roles.find((role) => isBoundBy(role, object))
    const resource = role && roleKinds[role.kind]
    if (!role || !resource) return []
    const { name } = role.metadata
    const [does, verb] = made ? ['grant', 'escalate'] : ['bind', 'bind']
    const instead = { verb, resource, name, ...(namespace === undefined ? {} : { namespace }) }
    const rules = role['rules'] as readonly Rule[]
    return [{ object, text: `${does} ${role.kind} ${name}`, instead, rules, namespace }]
  })
}

/**
 * Of the admission policies that read objects of some kind, and of their bindings. Of a kind that it does not know yet
 * the server asks for the whole group.
 */
async function parameters(client: Client, objects: readonly KubernetesObject[]): Promise<Handed[]> {
  const found: Handed[] = []
  for (const object of objects) {
    const spec = object['spec'] as { readonly paramKind?: { apiVersion: string; kind: string } } | undefined
    if (object.kind !== 'ValidatingAdmissionPolicy' || !spec?.paramKind) continue
    const { apiVersion, kind } = spec.paramKind
    const plural = await client.resource(apiVersion, kind).then(
      (resource) => resource.plural,
      (error: unknown) => {
        if (error instanceof KubernetesError) throw error
        return '*'
      },
    )
    const rules = [{ apiGroups: apiVersion.split('/').slice(0, -1), resources: [plural], verbs: ['get', 'list'] }]
    found.push({ object, text: `write ${objectName(object)}`, rules })
  }
  return found
}

function isBoundBy(role: KubernetesObject, binding: KubernetesObject): boolean {
  const ref = binding['roleRef'] as { readonly kind: string; readonly name: string } | undefined
  if (ref?.kind !== role.kind || ref.name !== role.metadata.name) return false
  return role.kind === 'ClusterRole' || role.metadata.namespace === binding.metadata.namespace
}

/** A role or binding that is there as it is to be is not granted again: an account without its rights may install a new image. */
async function isThere(client: Client, object: KubernetesObject): Promise<boolean> {
  const { name, namespace } = object.metadata
  const resource = await client.resource(object.apiVersion, object.kind)
  const there = await client.find<AnyObject & { rules?: unknown }>(resource, { name, namespace })
  return there !== undefined && isDeepStrictEqual(there.rules, object['rules'])
}

/** One for each verb, resource and name of the rules. */
const queries = ({ rules, namespace }: Handed): AccessQuery[] =>
  rules.flatMap((rule) =>
    rule.apiGroups.flatMap((group) =>
      rule.resources.flatMap((of) => {
        const [plural = '', subresource] = of.split('/')
        const resource = { group, version: '*', plural, namespaced: true }
        return (rule.resourceNames ?? [undefined]).flatMap((name) =>
          rule.verbs.map((verb) => ({
            ...{ verb, resource },
            ...(namespace === undefined ? {} : { namespace }),
            ...(name === undefined ? {} : { name }),
            ...(subresource === undefined ? {} : { subresource }),
          })),
        )
      }),
    ),
  )

/** Asks each question once, and not all at a time. @returns the answers. */
async function ask(client: Client, queries: readonly AccessQuery[]): Promise<(query: AccessQuery) => boolean> {
  const open = [...new Map(queries.map((query) => [JSON.stringify(query), query]))]
  const answers = new Map<string, boolean>()
  for (let at = 0; at < open.length; at += width) {
    const some = open.slice(at, at + width)
    await Promise.all(some.map(async ([key, query]) => answers.set(key, await client.allowed(query))))
  }
  return (query) => answers.get(JSON.stringify(query)) === true
}
