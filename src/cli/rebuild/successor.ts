import { createHash } from 'node:crypto'
import { apiVersion, type Build, type BuildSpec } from '../../api/builds/builds.ts'
import { pullAnnotation, pulledByLabel } from '../../api/builds/on-pull.ts'
import { normalizeReference } from '../../buildkit/reference.ts'
import type { KubernetesObject, OwnerReference } from '../../kernel/k8s/objects.ts'
import type { Image } from './images.ts'
import {
  isRebuild,
  nodeAnnotation,
  originOf,
  pinsAnnotation,
  pinsOf,
  rebuildOfAnnotation,
  rebuildOfLabel,
} from './lineage.ts'

export interface Pin {
  readonly name: string
  readonly digest: string
}

export interface RebuildOn {
  /** What names of bases stand for. */
  readonly pins: readonly Pin[]
  /** Names of bases that are taken as the node has them: they are in no registry. */
  readonly released: readonly string[]
  /** Where such a base is. An author's node or workload goes before it. */
  readonly node?: string | undefined
  /** 1 for the first try; a rebuild that failed is in the way of its name. */
  readonly attempt: number
}

/**
 * Labels and annotations by which Argo CD, Flux, Helm and kubectl know what they have deployed. What has them and is in no
 * manifest, as a rebuild is, they delete.
 */
const ofDeployers =
  /^(app\.kubernetes\.io\/instance$|kubectl\.kubernetes\.io\/last-applied-configuration$|(argocd\.argoproj\.io|(kustomize|helm)\.toolkit\.fluxcd\.io|meta\.helm\.sh)\/)/

/** What holds of one Build only, not of the next that does its work: nobody has pulled a rebuild. */
const ofOne: readonly string[] = [nodeAnnotation, pulledByLabel, pullAnnotation]

const handedOn = (marks: Readonly<Record<string, string>> = {}): Record<string, string> =>
  Object.fromEntries(Object.entries(marks).filter(([key]) => !ofDeployers.test(key) && !ofOne.includes(key)))

/**
 * Those of the Build, so that a rebuild goes with it. One that a pull began owns its rebuilds itself: it goes before its
 * owner does, as soon as there are more than that keeps.
 */
function ownersOf(build: Build): { readonly ownerReferences?: readonly OwnerReference[] } {
  const { name = '', uid = '', labels, ownerReferences } = build.metadata ?? {}
  if (labels?.[pulledByLabel] !== undefined && !isRebuild(build)) {
    return { ownerReferences: [{ apiVersion, kind: 'Build', name, uid }] }
  }
  return ownerReferences === undefined ? {} : { ownerReferences }
}

/**
 * The Build that does another's work again on other bases: same spec, same commit. Its name follows from
 * what it is to do, so that who begins again after an interruption finds it instead of making a second one.
 */
export function successorOf({ build, recipe }: Image, { pins, released, node, attempt }: RebuildOn): Build {
  const { metadata, status } = build
  const origin = originOf(build)
  const { cancelled: _, trigger: _trigger, bases: _bases, ...spec } = build.spec
  const placed: { readonly node?: string } = node === undefined || recipe.node || recipe.for ? {} : { node }
  const key = digestOf([origin, metadata?.uid, pins, placed])
  const git = recipe.source?.git
  const set = new Map(pins.map((pin) => [pin.name, pin.digest]))
  const before = (recipe.bases ?? []).map(({ name, digest }) => ({ name: normalizeReference(name), digest }))
  const others = before.filter(({ name }) => !set.has(name) && !released.includes(name))
  const bases = [...others, ...[...set].map(([name, digest]) => ({ name, digest }))]
  const ours = [...new Set([...pinsOf(build), ...set.keys()])]
  const next: BuildSpec = {
    ...spec,
    ...placed,
    ...(bases.length === 0 ? {} : { bases }),
    // The same sources on another base: a branch may have moved on since.
    ...(git && status?.commit !== undefined ? { source: { git: { ...git, revision: status.commit } } } : {}),
  }
  return {
    apiVersion,
    kind: 'Build',
    metadata: {
      name: `${stem(origin)}-${key}${attempt === 1 ? '' : `-${attempt}`}`,
      namespace: metadata?.namespace,
      labels: { ...handedOn(metadata?.labels), [rebuildOfLabel]: labelOf(origin) },
      annotations: {
        ...handedOn(metadata?.annotations),
        [rebuildOfAnnotation]: origin,
        ...(ours.length === 0 ? {} : { [pinsAnnotation]: ours.join(',') }),
        ...(placed.node === undefined ? {} : { [nodeAnnotation]: placed.node }),
      },
      ...ownersOf(build),
    },
    spec: next,
  } as Build & KubernetesObject
}

const digestOf = (value: unknown): string =>
  createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 10)

/** Room for the key and the number of a try. */
const stem = (name: string): string => name.slice(0, 230).replace(/[^a-z0-9]+$/, '')

/** Labels have 63 characters. */
export const labelOf = (name: string): string =>
  name.length <= 63 ? name : `${name.slice(0, 52).replace(/[^a-z0-9]+$/, '')}-${digestOf(name)}`
