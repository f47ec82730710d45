import type { Build, BuildStatus, Recipe } from '../../api/builds/builds.ts'
import { overlap, refusedAnnotation, revisionPlaceholder } from '../../api/builds/on-pull.ts'
import { normalizeReference } from '../../buildkit/reference.ts'
import { InsituError } from '../../kernel/errors.ts'

type Pulls = NonNullable<BuildStatus['pulls']>

/** What a Build with trigger OnPull claims. @throws InsituError INVALID_SPEC, with a sentence for the author. */
export function pullsOf(recipe: Recipe): Omit<Pulls, 'last'> {
  const names = recipe.output?.names ?? []
  if (names.length === 0) throw invalid('nothing can be pulled of a Build whose output has no names')
  const open = names.filter((name) => name.includes(revisionPlaceholder))
  if (open.length > 0) checkRevision(recipe, open.length === names.length)
  return {
    names: [...new Set(names.map(normalPattern))],
    serviceAccountName: recipe.serviceAccountName ?? 'default',
    ...(recipe.platforms === undefined ? {} : { platforms: recipe.platforms }),
    pushes: recipe.output?.push === true,
  }
}

/** The same as the rules of the schema say, for what a template brought. */
function checkRevision({ source }: Recipe, everywhere: boolean): void {
  if (!everywhere) throw invalid(`either all names have ${revisionPlaceholder} or none`)
  if (source?.git === undefined) throw invalid(`${revisionPlaceholder} is a revision of source.git, and there is none`)
  if (source.git.revision !== undefined && !source.git.revision.includes(revisionPlaceholder)) {
    throw invalid(`source.git.revision holds ${revisionPlaceholder} where the names do, or stays away`)
  }
}

/** A name with or without placeholder, as containerd would write it. */
function normalPattern(name: string): string {
  // No name has capitals before its tag, so this is not already part of it.
  const stand = 'REVISION.'
  if (name.includes(stand)) return normalizeReference(name)
  const normal = normalizeReference(name.replace(revisionPlaceholder, stand))
  if (normal.includes('@')) throw invalid(`${name}: a digest is known after a build, not before`)
  return normal.replace(stand, revisionPlaceholder)
}

const invalid = (message: string): InsituError =>
  new InsituError('INVALID_SPEC', message, { status: 'INVALID_ARGUMENT' })

/** The older of two Builds has the names that both claim. */
export const isOlder = (one: Build, other: Build): boolean => ageKey(one) < ageKey(other)

const ageKey = ({ metadata }: Build): string =>
  `${metadata?.creationTimestamp} ${metadata?.namespace}/${metadata?.name}`

/** The older Build that has one of these names; one that the policy refuses them has none. */
export function takenBy(build: Build, names: readonly string[], all: readonly Build[]): Build | undefined {
  return all.find(
    (other) =>
      other.metadata?.uid !== build.metadata?.uid &&
      isOlder(other, build) &&
      other.spec.cancelled !== true &&
      other.metadata?.annotations?.[refusedAnnotation] === undefined &&
      other.status?.pulls?.names.some((theirs) => names.some((own) => overlap(own, theirs))) === true,
  )
}
