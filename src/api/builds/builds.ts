import type { KubernetesObject } from '../../kernel/k8s/objects.ts'
import type { Resource } from '../../kernel/k8s/resources.ts'
import { group } from '../names.ts'
import { boolean, object, type Infer, type Rule } from './field.ts'
import { revisionPlaceholder } from './on-pull.ts'
import { history, onPull, parameters, recipe, templateReference, trigger } from './spec.ts'
import { status } from './status.ts'

export const version = 'v1alpha1'
export const apiVersion = `${group}/${version}`

const buildShape = {
  ...recipe,
  trigger,
  onPull,
  template: templateReference,
  cancelled: boolean('Ends it; there is no way back.', {
    default: false,
    rules: [{ rule: '!oldSelf || self', message: 'a cancelled Build stays cancelled: make a new one' }],
  }),
} as const

const podTemplateOnce: Rule = {
  rule: '!has(self.podTemplate) || !has(self.podTemplateFrom)',
  message: 'podTemplate and podTemplateFrom exclude each other',
}

const placeholder = `'${revisionPlaceholder}'`
const named = `self.output.names.exists(n, n.contains(${placeholder}))`

/** Where the placeholder for a revision may stand. What templates bring is checked when they are put in. */
const revisionRules: readonly Rule[] = [
  {
    rule: `!has(self.output) || self.trigger == 'OnPull' || !${named}`,
    message: `only a Build with trigger OnPull can take ${revisionPlaceholder} from the name that is pulled`,
  },
  {
    rule: `!has(self.output) || !${named} || self.output.names.all(n, n.contains(${placeholder}))`,
    message: `either all names have ${revisionPlaceholder} or none: what is pulled has to say what is built`,
  },
  {
    rule: `!has(self.output) || !${named} || !has(self.source) || has(self.source.git)`,
    message: `${revisionPlaceholder} is a revision of source.git`,
  },
  {
    rule:
      `!has(self.output) || !${named} || !has(self.source) || !has(self.source.git) || ` +
      `!has(self.source.git.revision) || self.source.git.revision.contains(${placeholder})`,
    message: `source.git.revision holds ${revisionPlaceholder} where the names do, or stays away`,
  },
]

/** What somebody wants built. */
export const buildSpec = object('What is to be built.', buildShape, {
  rules: [
    { rule: 'has(self.source) || has(self.template)', message: 'a Build has a source, or a template that has one' },
    podTemplateOnce,
    {
      rule: "self.trigger != 'OnPull' || has(self.output) || has(self.template)",
      message: 'a Build that waits for a pull has an output with the names that may be pulled',
    },
    { rule: "!has(self.onPull) || self.trigger == 'OnPull'", message: 'onPull is for trigger OnPull' },
    ...revisionRules,
  ],
})

/** A recipe with parameters. Its strings may hold `${NAME}`. */
export const templateSpec = object('How to build.', { ...recipe, parameters, history }, { rules: [podTemplateOnce] })

export type BuildSpec = Infer<typeof buildSpec>
export type BuildTemplateSpec = Infer<typeof templateSpec>
export type BuildStatus = Infer<typeof status>
export type BuildCondition = NonNullable<BuildStatus['conditions']>[number]
export type FormerAttempt = NonNullable<BuildStatus['former']>[number]
export type TemplateParameter = NonNullable<BuildTemplateSpec['parameters']>[number]
/** What a Build and its template come to. */
export type Recipe = Omit<BuildSpec, 'template' | 'cancelled' | 'trigger' | 'onPull'>

export interface Build extends KubernetesObject {
  readonly spec: BuildSpec
  readonly status?: BuildStatus
}

export interface BuildTemplate extends KubernetesObject {
  readonly spec: BuildTemplateSpec
}

export type ClusterBuildTemplate = BuildTemplate

export const buildResources = {
  builds: { group, version, plural: 'builds', namespaced: true },
  buildTemplates: { group, version, plural: 'buildtemplates', namespaced: true },
  clusterBuildTemplates: { group, version, plural: 'clusterbuildtemplates', namespaced: false },
} as const satisfies Record<string, Resource>
