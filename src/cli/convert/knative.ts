import { apiVersion, type Recipe } from '../../api/builds/builds.ts'
import { UsageError } from '../../kernel/errors.ts'
import { type BuildAction, buildAction, type OldStep } from './build-step.ts'
import { unchangedRemarks } from './unchanged.ts'

/** An object as a file has it. */
export interface Plain {
  readonly apiVersion?: string
  readonly kind?: string
  readonly metadata?: Readonly<Record<string, unknown>> & { readonly name?: string }
  readonly spec?: OldSpec
  readonly [field: string]: unknown
}

/** build.knative.dev/v1alpha1: the specs of Build and BuildTemplate together. */
interface OldSpec {
  readonly parameters?: readonly { readonly name: string; readonly description?: string; readonly default?: string }[]
  readonly source?: {
    readonly git?: { readonly url: string; readonly revision?: string }
    readonly subPath?: string
    readonly [other: string]: unknown
  }
  readonly template?: {
    readonly name: string
    readonly kind?: string
    readonly arguments?: readonly { readonly name: string; readonly value: string }[]
    readonly env?: unknown
  }
  readonly steps?: readonly OldStep[]
  readonly volumes?: readonly { readonly name: string; readonly [source: string]: unknown }[]
  readonly serviceAccountName?: string
  readonly timeout?: string
  readonly [field: string]: unknown
}

export interface Converted {
  readonly object: Readonly<Record<string, unknown>>
  /** What is different now, for people. */
  readonly remarks: readonly string[]
}

export interface ConvertOptions {
  /** Push what the old steps only built. */
  readonly push: boolean
}

const known = ['parameters', 'source', 'template', 'steps', 'volumes', 'serviceAccountName', 'timeout', 'generation']
const ofPod = ['nodeSelector', 'affinity', 'status']

/**
 * Says an object of Knative's old API in ours; others (Secrets, ServiceAccounts, …) are kept as they are.
 * @throws UsageError for what cannot be said
 */
export function convertKnative(old: Plain, options: ConvertOptions): Converted {
  if (!(old.apiVersion ?? '').startsWith('build.knative.dev/')) return { object: old, remarks: unchangedRemarks(old) }
  const kind = old.kind ?? ''
  if (!['Build', 'BuildTemplate', 'ClusterBuildTemplate'].includes(kind)) {
    throw new UsageError(`${old.apiVersion} ${kind} is nothing that insitu knows`)
  }
  const label = `${kind} ${old.metadata?.name ?? ''}`
  const spec = old.spec ?? {}
  const strange = Object.keys(spec).find((key) => !known.includes(key) && !ofPod.includes(key))
  if (strange !== undefined) throw new UsageError(`${label}: spec.${strange} cannot be converted`)
  const remarks = ofPod
    .filter((key) => key in spec && key !== 'status')
    .map((key) => `${label}: spec.${key} is left out: insitu chooses the node that builds (spec.node, spec.for)`)
  const steps = readSteps(spec, label, options, remarks)
  const converted = {
    ...(spec.parameters === undefined ? {} : { parameters: spec.parameters }),
    ...(spec.template === undefined ? {} : { template: readTemplate(spec.template, label) }),
    ...readSource(spec, steps, label),
    ...steps.recipe,
    ...(spec.serviceAccountName === undefined ? {} : { serviceAccountName: spec.serviceAccountName }),
    ...(spec.timeout === undefined ? {} : { timeout: spec.timeout }),
  }
  const { name, namespace, labels, annotations } = old.metadata ?? {}
  const metadata = Object.entries({ name, namespace, labels, annotations }).filter(([, value]) => value !== undefined)
  return { object: { apiVersion, kind, metadata: Object.fromEntries(metadata), spec: converted }, remarks }
}

function readTemplate(template: NonNullable<OldSpec['template']>, label: string): object {
  if (template.env !== undefined) throw new UsageError(`${label}: spec.template.env cannot be converted`)
  return template
}

function readSource({ source }: OldSpec, { subPath }: Steps, label: string): object {
  if (!source) {
    if (subPath !== undefined) throw new UsageError(`${label}: the context ${subPath} of a step needs a source`)
    return {}
  }
  if (!source.git) throw new UsageError(`${label}: only spec.source.git can be converted`)
  const path = [source.subPath, subPath].filter((part) => part !== undefined).join('/')
  const { url, revision } = source.git
  return {
    source: {
      git: { url, ...(revision === undefined ? {} : { revision }), ...(path === '' ? {} : { subPath: path }) },
    },
  }
}

interface Steps {
  readonly recipe: Partial<
    Pick<Recipe, 'dockerfile' | 'target' | 'noCache' | 'args' | 'output' | 'steps' | 'podTemplate'>
  >
  readonly subPath?: string | undefined
}

/** The step that builds becomes the recipe; those before and after it stay containers. */
function readSteps(spec: OldSpec, label: string, { push }: ConvertOptions, remarks: string[]): Steps {
  const before: OldStep[] = []
  const after: OldStep[] = []
  let build: BuildAction | undefined
  const pushed = new Set<string>()
  let insecure = false
  for (const step of spec.steps ?? []) {
    const action = buildAction(step)
    insecure ||= action?.insecure === true
    if (!action) (build ? after : before).push(step)
    else if (!action.builds) for (const name of action.names) pushed.add(name)
    else if (build) throw new UsageError(`${label}: it builds twice; make it two`)
    else build = action
  }
  if (!build) {
    if ((spec.steps ?? []).length === 0) return { recipe: {} }
    throw new UsageError(`${label}: none of its steps builds an image with docker, img, buildah or kaniko`)
  }
  const { names, dockerfile, target, noCache, args, subPath } = build
  const isPushed = push || build.push || names.some((name) => pushed.has(name))
  if (names.length > 0 && !isPushed) {
    remarks.push(`${label}: ${names.join(', ')} is not pushed: it stays on the nodes that run it (--push changes that)`)
  }
  const used = new Set([...before, ...after].flatMap((step) => (step.volumeMounts ?? []).map(({ name }) => name)))
  const volumes = (spec.volumes ?? []).filter(({ name }) => used.has(name))
  for (const { name } of spec.volumes ?? []) {
    if (!used.has(name)) remarks.push(`${label}: the volume ${name} is not needed any more`)
  }
  return {
    subPath,
    recipe: {
      ...(dockerfile === undefined ? {} : { dockerfile }),
      ...(target === undefined ? {} : { target }),
      ...(noCache === undefined ? {} : { noCache }),
      ...(args.length === 0 ? {} : { args: [...args] }),
      ...(names.length === 0 ? {} : { output: outputOf(build, isPushed, insecure) }),
      ...(before.length + after.length === 0
        ? {}
        : { steps: { ...(before.length ? { before } : {}), ...(after.length ? { after } : {}) } }),
      ...(volumes.length === 0 ? {} : { podTemplate: { spec: { volumes } } }),
    },
  }
}

const outputOf = ({ names, attestations }: BuildAction, push: boolean, insecure: boolean): Recipe['output'] => ({
  names: [...names],
  ...(push ? { push, ...(insecure ? { insecure } : {}) } : {}),
  ...(attestations === undefined ? {} : { attestations }),
})
