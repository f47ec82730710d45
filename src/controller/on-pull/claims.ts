import type { Build, BuildStatus, Recipe } from '../../api/builds/builds.ts'
import { overlap, type Pattern, patternOf, refusedAnnotation, revisionPlaceholder } from '../../api/builds/on-pull.ts'
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

/** That a Build has a name. */
interface Claim {
  readonly build: Build
  readonly age: string
  /** Of its tag: the repository is the same for all that it is compared with, and may be long. */
  readonly pattern: Pattern
}

/**
 * With so many of the oldest other names of a repository a name is compared: all with all would take minutes where a
 * hundred thousand are claimed. Only the note that a name is taken may be missing beyond: gateways decide by themselves.
 */
const compared = 50

/** The oldest claim of each name of a repository, which goes before all others of that name; the oldest first. */
interface Repository {
  readonly claims: Map<string, Claim>
  readonly oldest: Claim[]
  /** Those that have the placeholder: only they overlap with other names than their own. */
  readonly open: Claim[]
}

export type Claims = ReadonlyMap<string, Repository>

/** What Builds claim, by repository, so that each is compared with few others. One that the policy refuses its names has none. */
export function claimsOf(builds: readonly Build[]): Claims {
  const repositories = new Map<string, Repository>()
  const oldestFirst = builds
    .filter(({ spec, status, metadata }) => {
      return status?.pulls && spec.cancelled !== true && metadata?.annotations?.[refusedAnnotation] === undefined
    })
    .map((build) => ({ build, age: ageKey(build) }))
    .sort((one, other) => (one.age < other.age ? -1 : 1))
  for (const { build, age } of oldestFirst) {
    for (const name of build.status?.pulls?.names ?? []) {
      const at = repositoryOfPattern(name)
      const found = repositories.get(at) ?? { claims: new Map<string, Claim>(), oldest: [], open: [] }
      repositories.set(at, found)
      if (found.claims.has(name)) continue
      const claim = { build, age, pattern: tagPattern(name, at) }
      found.claims.set(name, claim)
      if (found.oldest.length < compared) found.oldest.push(claim)
      if (claim.pattern.after !== undefined && found.open.length < compared) found.open.push(claim)
    }
  }
  return repositories
}

/** The oldest Build of those older than this one that have one of these names. */
export function takenBy(build: Build, names: readonly string[], claims: Claims): Build | undefined {
  let age = ageKey(build)
  let oldest: Build | undefined
  for (const name of names) {
    const claim = oldestClaim(name, age, claims)
    if (claim) ({ build: oldest, age } = claim)
  }
  return oldest
}

/** The oldest claim of what could be this name, of those before an age. */
function oldestClaim(name: string, before: string, repositories: Claims): Claim | undefined {
  const at = repositoryOfPattern(name)
  const repository = repositories.get(at)
  if (repository === undefined) return undefined
  const pattern = tagPattern(name, at)
  const others = pattern.after === undefined ? repository.open : repository.oldest
  // The first is the oldest. A Build finds itself where there is none.
  const fitting = [repository.claims.get(name), others.find((claim) => overlap(pattern, claim.pattern))]
  return fitting.reduce((oldest, claim) => (claim && claim.age < (oldest?.age ?? before) ? claim : oldest), undefined)
}

const ageKey = ({ metadata }: Build): string =>
  `${metadata?.creationTimestamp} ${metadata?.namespace}/${metadata?.name}`

/** Names that are claimed are normalised, so each has a tag, and the placeholder is nowhere else. */
const repositoryOfPattern = (name: string): string => name.slice(0, name.lastIndexOf(':'))

const tagPattern = (name: string, repository: string): Pattern => patternOf(name.slice(repository.length))
