import { createHash } from 'node:crypto'
import { apiVersion, type Build, type Recipe } from '../../api/builds/builds.ts'
import { type Pull, pullAnnotation, pulledByLabel, readPull, revisionPlaceholder } from '../../api/builds/on-pull.ts'

/** A Build that a pull began, with what it was made for. */
export interface Made {
  readonly build: Build
  readonly pull: Pull
  /** Milliseconds since 1970; undefined while it goes on. */
  readonly ended: number | undefined
}

/** The Builds that pulls began, by the UID of the one that waited. */
export function madeByPulls(builds: readonly Build[]): ReadonlyMap<string, readonly Made[]> {
  const found = new Map<string, Made[]>()
  for (const build of builds) {
    const by = build.metadata?.labels?.[pulledByLabel]
    const pull = by === undefined ? undefined : readPull(build.metadata?.annotations?.[pullAnnotation])
    const owned = build.metadata?.ownerReferences?.some(({ uid }) => uid === by) === true
    if (by === undefined || pull === undefined || !owned) continue
    const { completionTime } = build.status ?? {}
    const made = { build, pull, ended: completionTime === undefined ? undefined : Date.parse(completionTime) }
    const list = found.get(by)
    if (list) list.push(made)
    else found.set(by, [made])
  }
  for (const list of found.values()) list.sort((a, b) => (key(a) < key(b) ? -1 : 1))
  return found
}

/** Oldest first. Times have whole seconds: of one second, what goes on is newer than what has ended. */
const key = ({ build, ended }: Made): string =>
  `${build.metadata?.creationTimestamp} ${ended ?? Infinity} ${build.metadata?.name}`

export interface MakeOptions {
  /** Of the Build that waited, its template put in. */
  readonly recipe: Recipe
  readonly pull: Pull
  readonly revision: string | undefined
  /** The node that shall build. */
  readonly node: string | undefined
  /** The last one of these names that has ended. */
  readonly before: Build | undefined
}

/**
 * The Build of a pull. Its name follows from the first of the names that it gives, whichever was pulled, and from what was built
 * of them before, so that a controller that dies, or sees late what it has done, makes no second one.
 */
export function buildOfPull(build: Build, { recipe, pull, revision, node, before }: MakeOptions): Build {
  const { namespace = '', name = '', uid = '' } = build.metadata ?? {}
  const hash = createHash('sha256')
    .update(JSON.stringify([uid, pull.names[0], before?.metadata?.uid]))
    .digest('hex')
  return {
    apiVersion,
    kind: 'Build',
    metadata: {
      name: `${name.slice(0, 50).replace(/[^a-z0-9]+$/, '')}-${hash.slice(0, 10)}`,
      namespace,
      labels: { [pulledByLabel]: uid },
      annotations: { [pullAnnotation]: JSON.stringify(pull) },
      ownerReferences: [{ apiVersion, kind: 'Build', name, uid, controller: true, blockOwnerDeletion: false }],
    },
    spec: {
      ...withRevision(recipe, revision),
      ...(node === undefined ? {} : { node }),
      ...(pull.platforms.length === 0 ? {} : { platforms: pull.platforms }),
    },
  }
}

/** In names, in the revision and in the values of arguments and labels; what a Dockerfile writes the same way is its own. */
function withRevision(recipe: Recipe, revision: string | undefined): Recipe {
  if (revision === undefined) return recipe
  const put = (text: string): string => text.replaceAll(revisionPlaceholder, revision)
  const { source, output, args } = recipe
  return {
    ...recipe,
    ...(source?.git === undefined
      ? {}
      : { source: { ...source, git: { ...source.git, revision: put(source.git.revision ?? revisionPlaceholder) } } }),
    ...(output === undefined ? {} : { output: { ...output, names: output.names.map(put), ...putLabels(output, put) } }),
    ...(args === undefined ? {} : { args: args.map(({ name, value }) => ({ name, value: put(value) })) }),
  }
}

const putLabels = ({ labels }: NonNullable<Recipe['output']>, put: (text: string) => string) =>
  labels === undefined
    ? {}
    : { labels: Object.fromEntries(Object.entries(labels).map(([key, value]) => [key, put(value)])) }
