import { type Build, buildSpec, type BuildStatus, type BuildTemplate, type Recipe } from '../../api/builds/builds.ts'
import { misfit } from '../../api/builds/conforms.ts'
import { revisionPlaceholder } from '../../api/builds/on-pull.ts'
import { misfits, substitute, valuesOf } from '../../api/builds/substitute.ts'
import { InsituError } from '../../kernel/errors.ts'
import { seconds } from './duration.ts'

const invalid = (message: string): InsituError =>
  new InsituError('INVALID_SPEC', message, { status: 'INVALID_ARGUMENT' })

/** `kind/name` of the template a Build wants, undefined when it wants none. */
export const templateKey = (build: Build): string | undefined => {
  const reference = build.spec.template
  if (reference === undefined) return undefined
  const kind = reference.kind ?? 'BuildTemplate'
  return kind === 'ClusterBuildTemplate'
    ? `${kind}/${reference.name}`
    : `${kind}/${build.metadata?.namespace}/${reference.name}`
}

/**
 * What is to be built: the template with its arguments put in, and over it, field by field, what the Build says itself.
 * Admission has checked most of it; what came from arguments, and Builds that were there before their template, are
 * checked here.
 * @throws InsituError INVALID_SPEC with a sentence for the author.
 */
export const recipeOf = (build: Build, template: BuildTemplate | undefined): Recipe =>
  checked(build, { ...fromTemplate(build.spec.template, template), ...ownRecipe(build) })

/**
 * The same for one that may have begun: that keeps what its template gave it then, through all attempts and until it is
 * cleaned up.
 * @throws InsituError as `recipeOf`.
 */
export function recipeNow(build: Build, templates: ReadonlyMap<string, BuildTemplate>): Recipe {
  const kept = keptRecipe(build)
  return kept === undefined ? recipeOf(build, templates.get(templateKey(build) ?? '')) : checked(build, kept)
}

/** The recipe of a Build that is over or deleted; where it never began, its template may be gone. */
export function lastRecipe(build: Build, templates: ReadonlyMap<string, BuildTemplate>): Recipe {
  try {
    return recipeNow(build, templates)
  } catch {
    return keptRecipe(build) ?? build.spec
  }
}

/** What of a recipe its template brought, for the status of a Build that begins. */
export const broughtBy = ({ spec }: Build, recipe: Recipe): NonNullable<BuildStatus['fromTemplate']> | undefined =>
  spec.template && Object.fromEntries(Object.entries(recipe).filter(([field]) => !(field in spec)))

/** Undefined: it has not begun, or began under a controller that kept nothing; or there is no template. */
const keptRecipe = (build: Build): Recipe | undefined =>
  build.status?.fromTemplate && { ...build.status.fromTemplate, ...ownRecipe(build) }

function ownRecipe({ spec }: Build): Recipe {
  const { template: _, cancelled: _cancelled, trigger: _trigger, onPull: _onPull, ...own } = spec
  return own
}

function checked(build: Build, result: Recipe): Recipe {
  const { template: reference, trigger } = build.spec
  if (result.source === undefined) throw invalid('neither the Build nor its template has a source')
  const kinds = Object.values(result.source).filter((value) => value !== undefined)
  if (kinds.length !== 1) throw invalid('exactly one of git, image, http, workspace and dockerfile is the source')
  for (const name of result.output?.names ?? []) {
    const plain = trigger === 'OnPull' ? name.replace(revisionPlaceholder, 'x') : name
    if (!/^[A-Za-z0-9][A-Za-z0-9._:/@-]*$/.test(plain)) throw invalid(`"${name}" is no name for an image`)
  }
  seconds(result.timeout ?? defaults.timeout, 'timeout')
  seconds(result.cleanUp?.pod ?? defaults.keepPod, 'cleanUp.pod')
  if (result.cleanUp?.build !== undefined) seconds(result.cleanUp.build, 'cleanUp.build')
  for (const path of [
    result.source.git?.subPath,
    result.source.workspace?.subPath,
    result.workspace?.directory,
    result.dockerfile,
  ]) {
    if (path !== undefined && (path.startsWith('/') || path.split('/').includes('..'))) {
      throw invalid(`the path "${path}" leads out of where it belongs`)
    }
  }
  if (reference !== undefined) checkSubstituted(result)
  return result
}

/** What the API server would have refused, had it stood there before the arguments were put in. */
function checkSubstituted(recipe: Recipe): void {
  const said = misfit(buildSpec.schema, recipe, 'spec')
  if (said !== undefined) throw invalid(said)
  if (/^(https?|git):\/\/[^/]*@/.test(recipe.source?.git?.url ?? '')) {
    throw invalid('spec.source.git.url holds credentials: put them into a Secret and name it in secretName')
  }
}

function fromTemplate(reference: Build['spec']['template'], template: BuildTemplate | undefined): Recipe {
  if (reference === undefined) return {}
  const named = `${reference.kind ?? 'BuildTemplate'} ${reference.name}`
  if (template === undefined) throw invalid(`${named} does not exist`)
  const { parameters = [], history: _, ...recipe } = template.spec
  const args = reference.arguments ?? []
  const { unknown, missing } = misfits(parameters, args)
  if (unknown.length > 0) throw invalid(`${named} has no parameter ${unknown.join(', ')}`)
  if (missing.length > 0) throw invalid(`${named} needs a value for its parameter ${missing.join(', ')}`)
  return substitute(recipe, valuesOf(parameters, args))
}

/** Where a Build says nothing. */
export const defaults = { timeout: '30m', keepPod: '5m', retries: 2 } as const
