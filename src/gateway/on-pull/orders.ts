import { type Build, buildResources } from '../../api/builds/builds.ts'
import {
  demandsOf,
  onPullDefaults,
  pullAnnotation,
  pulledByLabel,
  readPull,
  refusedAnnotation,
  revisionPlaceholder,
  unservedAnnotation,
} from '../../api/builds/on-pull.ts'
import { repositoryOf } from '../../buildkit/reference.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import { watchResource } from '../../kernel/k8s/watch.ts'
import type { Logger } from '../../kernel/log.ts'

/** A Build that waits until one of its names is pulled. */
export interface Order {
  readonly namespace: string
  readonly name: string
  readonly uid: string
  readonly generation: number
  readonly created: string
  /** Normalised, with or without the placeholder for a revision. */
  readonly names: readonly string[]
  readonly serviceAccount: string
  /** What it is built for; undefined: what the nodes are that ask. */
  readonly platforms: readonly string[] | undefined
  readonly revisions: 'Commits' | 'Any'
  readonly atOnce: number
  readonly pushes: boolean
  /** Keys of demands that the controller has not answered yet. */
  readonly demands: ReadonlySet<string>
  /** What it says of the policy's refusal now. */
  readonly refused: string | undefined
  /** What it says now of a node that cannot get its image. */
  readonly unserved: string | undefined
}

/** A Build that a pull began. */
export interface Begun {
  readonly namespace: string
  /** UID of the Build that waited. */
  readonly by: string
  /** All that it gives, normalised: the one that was pulled is among them. */
  readonly names: readonly string[]
  readonly platforms: readonly string[]
  readonly generation: number
  readonly failures: number
  readonly created: string
  /** Milliseconds since 1970; undefined while it goes on. */
  readonly ended: number | undefined
  readonly succeeded: boolean
  readonly digest: string | undefined
  /** Digests of its rebuilds, which have the same names and platforms. */
  readonly rebuilt: readonly string[]
  /** Of a failure. */
  readonly message: string
}

/** A Build that did the work of one again that a pull began (`insitu rebuild`). */
interface Rebuild {
  /** `NAMESPACE/NAME` of that one. */
  readonly of: string
  readonly digest: string
}

type Picked = { readonly order: Order } | { readonly begun: Begun } | { readonly rebuild: Rebuild }

/** Builds that wait for pulls, and what pulls have begun, as they are now. */
export interface Orders {
  /** Those that claim a name of this repository, the oldest first. */
  claiming(repository: string): readonly Order[]
  /** What pulls of this Build began, in no order. */
  begun(order: Order): readonly Begun[]
  all(): Iterable<Order>
  /** Told of every change. @returns what ends it. */
  onChange(listener: () => void): () => void
  readonly synced: boolean
  stop(): Promise<void>
}

/** Follows the Builds of the cluster and keeps those that have to do with pulls. */
export function followOrders(options: { readonly client: KubernetesClient; readonly logger: Logger }): Orders {
  const byRepository = new Map<string, Map<string, Order>>()
  const byOrder = new Map<string, Map<string, Begun>>()
  const rebuilds = new Map<string, Map<string, string>>()
  const listeners = new Set<() => void>()

  const repositories = ({ names }: Order): Set<string> =>
    new Set(names.flatMap((name) => repositoryOfPattern(name) ?? []))
  const take = (key: string, picked: Picked): void => {
    if ('order' in picked) for (const repository of repositories(picked.order)) drop(byRepository, repository, key)
    else if ('begun' in picked) drop(byOrder, picked.begun.by, key)
    else drop(rebuilds, picked.rebuild.of, key)
  }
  const watch = watchResource<Build, Picked>({
    ...options,
    resource: buildResources.builds,
    pick: pickBuild,
    onUpsert(key, value, previous) {
      if (previous) take(key, previous)
      if ('order' in value) {
        for (const repository of repositories(value.order)) put(byRepository, repository, key, value.order)
      } else if ('begun' in value) put(byOrder, value.begun.by, key, value.begun)
      else put(rebuilds, value.rebuild.of, key, value.rebuild.digest)
      for (const listener of listeners) listener()
    },
    onDelete(key, previous) {
      take(key, previous)
      for (const listener of listeners) listener()
    },
  })
  return {
    claiming: (repository) => [...(byRepository.get(repository)?.values() ?? [])].toSorted(byAge),
    begun: ({ uid, namespace }) =>
      [...(byOrder.get(uid) ?? [])]
        .filter(([, one]) => one.namespace === namespace)
        .map(([key, one]) => ({ ...one, rebuilt: [...(rebuilds.get(key)?.values() ?? [])] })),
    *all() {
      for (const picked of watch.items.values()) if ('order' in picked) yield picked.order
    },
    onChange(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    get synced() {
      return watch.synced
    },
    stop: () => watch.stop(),
  }
}

/** Takes from a Build what pulls have to do with; undefined for all others. */
export function pickBuild(build: Build): Picked | undefined {
  const { metadata, spec, status } = build
  const { namespace = '', name = '', uid = '', creationTimestamp: created = '', annotations = {} } = metadata ?? {}
  if (metadata?.deletionTimestamp !== undefined) return undefined
  const generation = metadata?.generation ?? 0
  if (spec.trigger === 'OnPull') {
    if (status?.pulls === undefined || spec.cancelled === true) return undefined
    const { names, serviceAccountName, platforms, pushes } = status.pulls
    const { revisions = onPullDefaults.revisions, atOnce = onPullDefaults.atOnce } = spec.onPull ?? {}
    const order: Order = {
      ...{ namespace, name, uid, generation, created, names, platforms, pushes, revisions, atOnce },
      ...{ serviceAccount: serviceAccountName, refused: annotations[refusedAnnotation] },
      unserved: annotations[unservedAnnotation],
      demands: new Set(demandsOf(annotations).keys()),
    }
    return { order }
  }
  const by = metadata?.labels?.[pulledByLabel]
  const pull = by === undefined ? undefined : readPull(annotations[pullAnnotation])
  if (by === undefined) return pickRebuild(build)
  if (pull === undefined || !metadata?.ownerReferences?.some((one) => one.uid === by)) return undefined
  const { completionTime, phase, digest, message = '' } = status ?? {}
  const begun: Begun = {
    ...{ namespace, by, created, digest, names: pull.names, platforms: pull.platforms, generation: pull.generation },
    ...{ failures: pull.failures, succeeded: phase === 'Succeeded', rebuilt: [], message: message.slice(-2000) },
    ended: completionTime === undefined ? undefined : Date.parse(completionTime),
  }
  return { begun }
}

/** It belongs to the one whose work it did again, if a pull began that. */
function pickRebuild({ metadata, status }: Build): Picked | undefined {
  const owner = metadata?.ownerReferences?.find(({ kind }) => kind === 'Build')
  if (owner === undefined || status?.digest === undefined) return undefined
  return { rebuild: { of: `${metadata?.namespace}/${owner.name}`, digest: status.digest } }
}

const byAge = (a: Order, b: Order): number => (ageKey(a) < ageKey(b) ? -1 : 1)
const ageKey = ({ created, namespace, name }: Order): string => `${created} ${namespace}/${name}`

function repositoryOfPattern(pattern: string): string | undefined {
  try {
    return repositoryOf(pattern.replace(revisionPlaceholder, 'x'))
  } catch {
    return undefined
  }
}

function put<T>(index: Map<string, Map<string, T>>, at: string, key: string, value: T): void {
  const found = index.get(at)
  if (found) found.set(key, value)
  else index.set(at, new Map([[key, value]]))
}

function drop<T>(index: Map<string, Map<string, T>>, at: string, key: string): void {
  const found = index.get(at)
  found?.delete(key)
  if (found?.size === 0) index.delete(at)
}
