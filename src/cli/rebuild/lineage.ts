import type { Build, Recipe } from '../../api/builds/builds.ts'
import { pullAnnotation, pulledByLabel, readPull } from '../../api/builds/on-pull.ts'
import { group } from '../../api/names.ts'

/** Label of a Build that is another's rebuild: the name of the first one, as far as a label takes it. */
export const rebuildOfLabel = `${group}/rebuild-of`
/** Annotation beside it: the whole name. */
export const rebuildOfAnnotation = `${group}/rebuild-of`
/** Annotation: which of `spec.bases` a rebuild has set, and the next one may set anew. Normalised names with commas. */
export const pinsAnnotation = `${group}/rebuilt-on`
/** Annotation: the node that a rebuild has put into `spec.node`, and the next one chooses anew. */
export const nodeAnnotation = `${group}/rebuilt-at`

export const isRebuild = ({ metadata }: Build): boolean => metadata?.labels?.[rebuildOfLabel] !== undefined

export const pinsOf = ({ metadata }: Build): string[] =>
  (metadata?.annotations?.[pinsAnnotation] ?? '').split(',').filter((name) => name !== '')

/** The name of the Build that somebody wrote, of one that may be its rebuild. */
export const originOf = ({ metadata }: Build): string =>
  metadata?.annotations?.[rebuildOfAnnotation] ?? metadata?.name ?? ''

/**
 * A Build without the node that its author did not write: a rebuild went where its base was then, and a pull's Build to
 * the node that asked. That node may be gone by now.
 * @param waiting recipes of the Builds that wait for pulls, by UID: a node that such a one names is its author's.
 */
export function withoutOurNode(build: Build, waiting: ReadonlyMap<string, Recipe>): Build {
  const { node, ...spec } = build.spec
  const { labels, annotations } = build.metadata ?? {}
  const waits = waiting.get(labels?.[pulledByLabel] ?? '')
  const asked = waits && waits.node === undefined ? readPull(annotations?.[pullAnnotation])?.asked : undefined
  return node !== undefined && (node === annotations?.[nodeAnnotation] || node === asked) ? { ...build, spec } : build
}
