import type { Build } from '../../api/builds/builds.ts'
import { group } from '../../api/names.ts'

/** Label of a Build that is another's rebuild: the name of the first one, as far as a label takes it. */
export const rebuildOfLabel = `${group}/rebuild-of`
/** Annotation beside it: the whole name. */
export const rebuildOfAnnotation = `${group}/rebuild-of`
/** Annotation: which of `spec.bases` a rebuild has set, and the next one may set anew. Normalised names with commas. */
export const pinsAnnotation = `${group}/rebuilt-on`

export const isRebuild = ({ metadata }: Build): boolean => metadata?.labels?.[rebuildOfLabel] !== undefined

export const pinsOf = ({ metadata }: Build): string[] =>
  (metadata?.annotations?.[pinsAnnotation] ?? '').split(',').filter((name) => name !== '')

/** The name of the Build that somebody wrote, of one that may be its rebuild. */
export const originOf = ({ metadata }: Build): string =>
  metadata?.annotations?.[rebuildOfAnnotation] ?? metadata?.name ?? ''
