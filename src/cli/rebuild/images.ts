import type { Build, BuildTemplate, Recipe } from '../../api/builds/builds.ts'
import { normalizeReference } from '../../buildkit/reference.ts'
import { recipeOf, templateKey } from '../../controller/build/recipe.ts'
import { describeError } from '../../kernel/errors.ts'
import { imagesNamedIn } from './dockerfile.ts'
import { isRebuild, pinsOf, withoutOurNode } from './lineage.ts'

/** A base of an image. */
export interface Base {
  /** Normalised, without digest. */
  readonly name: string
  /** What it was built on; undefined: it names the base and was never built. */
  readonly digest: string | undefined
  /** Its author says the digest: a rebuild would take the same one. */
  readonly pinned: boolean
}

/** An image that a Build makes: the newest one that succeeded stands for it, or the newest one. */
export interface Image {
  /** `NAMESPACE/NAME` of the Build. */
  readonly id: string
  /** Without a node that no author named. */
  readonly build: Build
  readonly recipe: Recipe
  /** Normalised names for which no other Build stands. */
  readonly names: readonly string[]
  readonly digest: string | undefined
  /** Undefined: nobody knows. */
  readonly bases: readonly Base[] | undefined
  /** Why it cannot be rebuilt. */
  readonly cannot: string | undefined
}

export const buildId = ({ metadata }: Build): string => `${metadata?.namespace}/${metadata?.name}`

/** @param templates by `BuildTemplate/NAMESPACE/NAME` and `ClusterBuildTemplate/NAME`. */
export function readImages(builds: readonly Build[], templates: ReadonlyMap<string, BuildTemplate>): Image[] {
  const waiting = waitingRecipes(builds, templates)
  // One that waits for pulls builds nothing itself: what it was pulled for are Builds of their own.
  const there = builds
    .filter(({ metadata, spec }) => metadata?.deletionTimestamp === undefined && spec.trigger !== 'OnPull')
    .map((build) => withoutOurNode(build, waiting))
  const known = there.map((build) => ({ build, ...readRecipe(build, templates) })).toSorted(newestFirst)
  const byName = new Map<string, (typeof known)[number][]>()
  for (const one of known) {
    for (const name of new Set(one.names)) byName.set(name, [...(byName.get(name) ?? []), one])
  }
  const standing = new Map<(typeof known)[number], { names: string[]; underWay: string | undefined }>()
  for (const [name, candidates] of byName) {
    // A rebuild that failed says nothing about what somebody wants.
    const current =
      candidates.find(({ build }) => build.status?.phase === 'Succeeded') ??
      candidates.find(({ build }) => !isRebuild(build))
    if (current === undefined) continue
    const newer = candidates.slice(0, candidates.indexOf(current) + 1)
    const running = newer.find(({ build }) => build.status?.completionTime === undefined && !isRebuild(build))
    const entry = standing.get(current) ?? { names: [], underWay: undefined }
    standing.set(current, {
      names: [...entry.names, name],
      underWay: entry.underWay ?? (running && whyNotYet(running.build)),
    })
  }
  return [...standing].map(([{ build, recipe, broken }, { names, underWay }]) => ({
    ...{ id: buildId(build), build, recipe, names, digest: build.status?.digest },
    bases: basesOf(build, recipe),
    cannot: broken ?? underWay ?? (build.status?.phase === 'Cancelled' ? 'its Build was cancelled' : undefined),
  }))
}

const whyNotYet = (build: Build): string => `Build ${buildId(build)} of this image is under way`

/** Of the Builds that wait for pulls, by UID; none of those whose template is not known. */
const waitingRecipes = (
  builds: readonly Build[],
  templates: ReadonlyMap<string, BuildTemplate>,
): ReadonlyMap<string, Recipe> =>
  new Map(
    builds.flatMap((build) => {
      if (build.spec.trigger !== 'OnPull') return []
      const { recipe, broken } = readRecipe(build, templates)
      return broken === undefined ? [[build.metadata?.uid ?? '', recipe] as const] : []
    }),
  )

function readRecipe(
  build: Build,
  templates: ReadonlyMap<string, BuildTemplate>,
): { readonly recipe: Recipe; readonly names: readonly string[]; readonly broken: string | undefined } {
  let recipe: Recipe = build.spec
  let broken: string | undefined
  try {
    recipe = recipeOf(build, templates.get(templateKey(build) ?? ''))
  } catch (error) {
    broken = describeError(error)
  }
  return { recipe, broken, names: normalised(build.status?.names ?? recipe.output?.names ?? []) }
}

const normalised = (names: readonly string[]): string[] =>
  names.flatMap((name) => {
    try {
      return [normalizeReference(name)]
    } catch {
      return []
    }
  })

/** Provenance where there is some, else what the Dockerfile says. */
function basesOf(build: Build, recipe: Recipe): Base[] | undefined {
  const ours = new Set(pinsOf(build))
  const authors = new Set(normalised((recipe.bases ?? []).map(({ name }) => name)).filter((name) => !ours.has(name)))
  const isPinned = (name: string, pinned: boolean | undefined): boolean => pinned === true || authors.has(name)
  const { bases, phase } = build.status ?? {}
  if (bases) return bases.map(({ name, digest, pinned }) => ({ name, digest, pinned: isPinned(name, pinned) }))
  const text = recipe.source?.dockerfile
  if (text === undefined) return recipe.source?.image && phase === undefined ? [] : undefined
  const args = new Map((recipe.args ?? []).map(({ name, value }) => [name, value]))
  return imagesNamedIn(text, args).map(({ name, digest }) => ({
    ...{ name, digest },
    pinned: isPinned(name, digest !== undefined),
  }))
}

function newestFirst(a: { readonly build: Build }, b: { readonly build: Build }): number {
  const key = ({ build: { metadata } }: { readonly build: Build }): string =>
    `${metadata?.creationTimestamp} ${metadata?.name}`
  return key(a) < key(b) ? 1 : -1
}
