import { apiVersion, version } from '../../api/builds/builds.ts'
import { definitions } from '../../api/builds/crds.ts'
import { group } from '../../api/names.ts'
import { type KubernetesObject, type Manifest, objectLabels } from './object.ts'

const rbac = 'rbac.authorization.k8s.io'
const admission = 'admissionregistration.k8s.io/v1'

/** The kinds Build, BuildTemplate and ClusterBuildTemplate: also install/crds, for those who apply kinds first. */
export const kinds = (): Manifest[] =>
  definitions(objectLabels()).map((definition) => ({
    comment: '',
    object: definition as unknown as KubernetesObject,
  }))

/** What schemas cannot say about Builds, and who may do what with them. */
export const buildAccess = (): Manifest[] => [
  ...roles(),
  ...argumentsFit('insitu-build-arguments', 'BuildTemplate'),
  ...argumentsFit('insitu-cluster-build-arguments', 'ClusterBuildTemplate'),
  ...startedOnce(),
  ...jobsAllowed(),
]

const all = ['get', 'list', 'watch', 'create', 'update', 'patch', 'delete', 'deletecollection']

const roles = (): Manifest[] =>
  (
    [
      ['edit', ['builds', 'buildtemplates'], all],
      ['view', ['builds', 'buildtemplates', 'clusterbuildtemplates'], ['get', 'list', 'watch']],
    ] as const
  ).map(([role, resources, verbs]) => ({
    comment: role === 'edit' ? 'Builds and templates belong to the built-in roles view, edit and admin.' : '',
    object: {
      apiVersion: `${rbac}/v1`,
      kind: 'ClusterRole',
      metadata: {
        name: `insitu-builds-${role}`,
        labels: { ...objectLabels(), [`${rbac}/aggregate-to-${role}`]: 'true' },
      },
      rules: [{ apiGroups: [group], resources, verbs }],
    },
  }))

/** The template is the parameter of the policy: each one that there is gets asked, and those with other names agree. */
function argumentsFit(name: string, kind: 'BuildTemplate' | 'ClusterBuildTemplate'): Manifest[] {
  const other = 'object.spec.template.name != params.metadata.name'
  const quoted = (list: string): string => `variables.${list}.join(', ')`
  return policy(
    name,
    `Arguments that a ${kind} does not have, and parameters that got none, are refused by name.`,
    {
      paramKind: { apiVersion, kind },
      matchConstraints: matching(['CREATE', 'UPDATE']),
      matchConditions: [
        {
          name: 'template',
          expression: `has(object.spec.template) && object.spec.template.?kind.orValue('BuildTemplate') == '${kind}'`,
        },
        // What is over may be marked, cleaned and deleted whatever has become of its template.
        { name: 'changed', expression: 'oldObject == null || object.spec != oldObject.spec' },
      ],
      variables: [
        { name: 'parameters', expression: 'params.spec.?parameters.orValue([])' },
        { name: 'given', expression: 'object.spec.template.?arguments.orValue([]).map(a, a.name)' },
        { name: 'known', expression: 'variables.parameters.map(p, p.name)' },
        { name: 'unknown', expression: 'variables.given.filter(n, !(n in variables.known))' },
        {
          name: 'missing',
          expression:
            'variables.parameters.filter(p, !has(p.default)).map(p, p.name).filter(n, !(n in variables.given))',
        },
      ],
      validations: [
        {
          expression: `${other} || variables.unknown.size() == 0`,
          messageExpression: `'${kind} ' + params.metadata.name + ' has no parameter ' + ${quoted('unknown')} + (variables.known.size() == 0 ? '' : '; it has ' + ${quoted('known')})`,
        },
        {
          expression: `${other} || variables.missing.size() == 0`,
          messageExpression: `'${kind} ' + params.metadata.name + ' needs a value for its parameter ' + ${quoted('missing')}`,
        },
      ],
    },
    { paramRef: { selector: {}, parameterNotFoundAction: 'Allow' } },
  )
}

/**
 * A rule of the schema could compare field by field, but its cost would be counted as if every text were as long as it
 * may be, and pod templates have no schema that it could look into.
 */
const startedOnce = (): Manifest[] =>
  policy(
    'insitu-build-started',
    'What a Build says cannot change once it was started; it can be cancelled.',
    {
      matchConstraints: matching(['UPDATE']),
      matchConditions: [{ name: 'started', expression: 'has(oldObject.status) && has(oldObject.status.startTime)' }],
      variables: [{ name: 'changed', expression: changedFields }],
      validations: [
        {
          expression: 'variables.changed.size() == 0',
          messageExpression: "'spec.' + variables.changed.join(', spec.') + ' cannot change: this Build was started'",
        },
      ],
    },
    {},
  )

const changedFields =
  '(object.spec.filter(k, !(k in oldObject.spec) || object.spec[k] != oldObject.spec[k]) + ' +
  "oldObject.spec.filter(k, !(k in object.spec))).filter(k, k != 'cancelled')"

/** A Build runs containers in the name of any service account of its namespace, so it takes the right to do that. */
const jobsAllowed = (): Manifest[] =>
  policy(
    'insitu-build-jobs',
    'A Build becomes a Job: nobody gets more by it than he has. insitu-builder alone lets one build, and make no Builds.',
    {
      matchConstraints: matching(['CREATE', 'UPDATE']),
      // Until it is started it may still become another; who cancels or marks it needs no such right.
      matchConditions: [{ name: 'changed', expression: `oldObject == null || ${changedFields}.size() > 0` }],
      validations: [
        {
          expression:
            "authorizer.group('batch').resource('jobs').namespace(request.namespace).check('create').allowed()",
          messageExpression: `'who makes or changes a Build must be allowed to create jobs.batch in namespace ' + request.namespace + ': it becomes one'`,
          reason: 'Forbidden',
        },
      ],
    },
    {},
  )

const matching = (operations: readonly string[]): object => ({
  resourceRules: [{ apiGroups: [group], apiVersions: [version], operations, resources: ['builds'] }],
})

function policy(name: string, comment: string, spec: object, binding: object): Manifest[] {
  const metadata = { name, labels: objectLabels() }
  return [
    {
      comment,
      object: {
        apiVersion: admission,
        kind: 'ValidatingAdmissionPolicy',
        metadata,
        spec: { failurePolicy: 'Fail', ...spec },
      },
    },
    {
      comment: '',
      object: {
        apiVersion: admission,
        kind: 'ValidatingAdmissionPolicyBinding',
        metadata,
        spec: { policyName: name, validationActions: ['Deny'], ...binding },
      },
    },
  ]
}
