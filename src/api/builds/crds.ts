import { group } from '../names.ts'
import { apiVersion, buildSpec, templateSpec, version } from './builds.ts'
import type { JsonSchema } from './field.ts'
import { status } from './status.ts'

/** A CustomResourceDefinition, as far as it is looked at here. */
export interface Definition {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: { readonly name: string; readonly labels: Readonly<Record<string, string>> }
  readonly spec: unknown
}

interface Kind {
  readonly kind: string
  readonly plural: string
  readonly short: string
  readonly scope: 'Namespaced' | 'Cluster'
  readonly description: string
  readonly spec: JsonSchema
  readonly status?: JsonSchema
  readonly columns: readonly (readonly [name: string, path: string, more?: object])[]
}

const age = ['Age', '.metadata.creationTimestamp', { type: 'date' }] as const

const kinds: readonly Kind[] = [
  {
    kind: 'Build',
    plural: 'builds',
    short: 'bld',
    scope: 'Namespaced',
    description: 'A build of an image, done once.',
    spec: buildSpec.schema,
    status: status.schema,
    columns: [
      ['Phase', '.status.phase'],
      ['Reason', '.status.conditions[?(@.type=="Succeeded")].reason'],
      ['Node', '.status.node'],
      ['Image', '.status.names[0]'],
      ['Digest', '.status.digest', { priority: 1 }],
      ['Pod', '.status.pod', { priority: 1 }],
      ['Started', '.status.startTime', { type: 'date', priority: 1 }],
      ['Ended', '.status.completionTime', { type: 'date', priority: 1 }],
      age,
    ],
  },
  ...(['Namespaced', 'Cluster'] as const).map((scope): Kind => {
    const cluster = scope === 'Cluster'
    return {
      kind: cluster ? 'ClusterBuildTemplate' : 'BuildTemplate',
      plural: cluster ? 'clusterbuildtemplates' : 'buildtemplates',
      short: cluster ? 'cbt' : 'bt',
      scope,
      description: `How to build, with parameters, for Builds of ${cluster ? 'every' : 'its'} namespace.`,
      spec: relaxed(templateSpec.schema),
      columns: [['Parameters', '.spec.parameters[*].name'], age],
    }
  }),
]

/** The CustomResourceDefinitions, rendered from the definitions beside this file. */
export const definitions = (labels: Readonly<Record<string, string>>): Definition[] =>
  kinds.map((kind) => definition(kind, labels))

function definition(kind: Kind, labels: Readonly<Record<string, string>>): Definition {
  const schema = {
    type: 'object',
    description: kind.description,
    required: ['spec'],
    properties: {
      apiVersion: { type: 'string', description: apiVersion },
      kind: { type: 'string', description: kind.kind },
      metadata: { type: 'object' },
      spec: kind.spec,
      ...(kind.status ? { status: kind.status } : {}),
    },
  }
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${kind.plural}.${group}`, labels },
    spec: {
      group,
      scope: kind.scope,
      names: {
        kind: kind.kind,
        listKind: `${kind.kind}List`,
        plural: kind.plural,
        singular: kind.kind.toLowerCase(),
        shortNames: [kind.short],
        categories: ['insitu'],
      },
      versions: [
        {
          name: version,
          served: true,
          storage: true,
          schema: { openAPIV3Schema: schema },
          ...(kind.status ? { subresources: { status: {} } } : {}),
          additionalPrinterColumns: kind.columns.map(([name, jsonPath, more]) => ({
            name,
            type: 'string',
            jsonPath,
            ...more,
          })),
        },
      ],
    },
  }
}

/** In a template every string with a pattern may also hold a parameter; what it becomes is checked with the Build. */
function relaxed(schema: JsonSchema): JsonSchema {
  const { properties, items, pattern } = schema as {
    readonly properties?: Readonly<Record<string, JsonSchema>>
    readonly items?: JsonSchema
    readonly pattern?: string
  }
  const named = (name: string): boolean => name === 'parameters'
  return {
    ...schema,
    ...(pattern === undefined ? {} : { pattern: `(${pattern})|[$][{][A-Za-z_][A-Za-z0-9_.-]*[}]` }),
    ...(items === undefined ? {} : { items: relaxed(items) }),
    ...(properties === undefined
      ? {}
      : {
          properties: Object.fromEntries(
            Object.entries(properties).map(([name, one]) => [name, named(name) ? one : relaxed(one)]),
          ),
        }),
  }
}
