import { version } from '../../api/builds/builds.ts'
import { pullPrefix } from '../../api/builds/on-pull.ts'
import { annotations, caSecret, configMaps, group, serviceAccounts } from '../../api/names.ts'
import { type Component, type Manifest, objectLabels } from './object.ts'

const rbac = 'rbac.authorization.k8s.io'
const admission = 'admissionregistration.k8s.io/v1'

/**
 * Who may do what. A role has only what it uses; where RBAC is too coarse (it cannot say "only this annotation" or
 * "only my own pod") an admission policy narrows it.
 */
export function access(namespace: string): Manifest[] {
  return [
    ...(['gateway', 'agent'] as const).map((role) => ({
      comment: `The identity of the ${role}s.`,
      object: {
        apiVersion: 'v1',
        kind: 'ServiceAccount',
        metadata: { name: serviceAccounts[role], namespace, labels: objectLabels(role) },
        automountServiceAccountToken: false,
      },
    })),
    {
      comment:
        'The CA of the connections between gateways and agents. It is empty here: the first gateway fills it in, and\n' +
        'applying this file again leaves it alone. Being here, nobody needs the right to create Secrets. It may also be there\n' +
        'already, with the CA of somebody else (type kubernetes.io/tls, e.g. from cert-manager): no type is said.',
      object: {
        apiVersion: 'v1',
        kind: 'Secret',
        metadata: { name: caSecret, namespace, labels: objectLabels('gateway') },
      },
    },
    {
      comment: 'The public half of the CA, for agents and for clients that use TLS.',
      object: {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: configMaps.ca, namespace, labels: objectLabels('gateway') },
      },
    },
    ...gatewayAccess(namespace),
    ...agentAccess(namespace),
    ...caReader(namespace),
    builderRole(),
  ]
}

/** The CA's certificate is as public as the API server's, which is in every namespace. */
const caReader = (namespace: string): Manifest[] => [
  {
    comment: "Clients read the CA's certificate, to know the gateway by it.",
    object: {
      apiVersion: `${rbac}/v1`,
      kind: 'Role',
      metadata: { name: configMaps.ca, namespace, labels: objectLabels() },
      rules: [{ apiGroups: [''], resources: ['configmaps'], resourceNames: [configMaps.ca], verbs: ['get'] }],
    },
  },
  {
    comment: '',
    object: {
      apiVersion: `${rbac}/v1`,
      kind: 'RoleBinding',
      metadata: { name: configMaps.ca, namespace, labels: objectLabels() },
      roleRef: { apiGroup: rbac, kind: 'Role', name: configMaps.ca },
      subjects: [{ apiGroup: rbac, kind: 'Group', name: 'system:authenticated' }],
    },
  },
]

/** Service accounts get certificates for builds where they have this. */
const builderRole = (): Manifest => ({
  comment:
    'Who may build: whoever may create builds in its namespace. Part of the built-in roles edit and admin; bind it to\n' +
    'service accounts of CI: kubectl -n NAMESPACE create rolebinding … --clusterrole=insitu-builder --serviceaccount=…',
  object: {
    apiVersion: `${rbac}/v1`,
    kind: 'ClusterRole',
    metadata: {
      name: 'insitu-builder',
      labels: { ...objectLabels(), [`${rbac}/aggregate-to-edit`]: 'true', [`${rbac}/aggregate-to-admin`]: 'true' },
    },
    rules: [{ apiGroups: [group], resources: ['builds'], verbs: ['create'] }],
  },
})

function gatewayAccess(namespace: string): Manifest[] {
  const name = serviceAccounts.gateway
  return [
    {
      comment:
        'Placement looks at nodes, pods and workloads; at claims and volumes because a pod can only run where its volume\n' +
        'is. Patching pods is narrowed by the policy below.',
      object: {
        apiVersion: `${rbac}/v1`,
        kind: 'ClusterRole',
        metadata: { name, labels: objectLabels('gateway') },
        rules: [
          { apiGroups: [''], resources: ['pods'], verbs: ['get', 'list', 'watch'] },
          {
            apiGroups: [''],
            resources: ['nodes', 'namespaces', 'persistentvolumes', 'persistentvolumeclaims'],
            verbs: ['list', 'watch'],
          },
          // When the kubelet of a pod in back-off tries again.
          { apiGroups: [''], resources: ['events'], verbs: ['list'] },
          {
            apiGroups: ['apps'],
            resources: ['deployments', 'replicasets', 'statefulsets', 'daemonsets'],
            verbs: ['get', 'list', 'watch'],
          },
          { apiGroups: ['batch'], resources: ['jobs', 'cronjobs'], verbs: ['get', 'list', 'watch'] },
          { apiGroups: [''], resources: ['pods'], verbs: ['patch'] },
          // Builds that wait for a pull; patching them is narrowed by the second policy below.
          { apiGroups: [group], resources: ['builds'], verbs: ['list', 'watch', 'patch'] },
          // Proxy variables of namespaces: the ConfigMaps of one name, and no others.
          {
            apiGroups: [''],
            resources: ['configmaps'],
            resourceNames: [configMaps.proxy],
            verbs: ['list', 'watch'],
          },
          // NO_PROXY has the ranges of services.
          { apiGroups: ['networking.k8s.io'], resources: ['servicecidrs'], verbs: ['list'] },
          { apiGroups: ['authentication.k8s.io'], resources: ['tokenreviews'], verbs: ['create'] },
          { apiGroups: ['authorization.k8s.io'], resources: ['subjectaccessreviews'], verbs: ['create'] },
        ],
      },
    },
    binding('ClusterRole', 'gateway', namespace),
    {
      comment: 'Only the CA, by name.',
      object: {
        apiVersion: `${rbac}/v1`,
        kind: 'Role',
        metadata: { name, namespace, labels: objectLabels('gateway') },
        rules: [
          { apiGroups: [''], resources: ['secrets'], resourceNames: [caSecret], verbs: ['get', 'update'] },
          { apiGroups: [''], resources: ['configmaps'], resourceNames: [configMaps.ca], verbs: ['get', 'patch'] },
        ],
      },
    },
    binding('Role', 'gateway', namespace),
    ...annotationOnly({
      role: 'gateway',
      of: pods,
      annotation: annotations.imageReady,
      comment:
        'A gateway makes the kubelet look again at a pod whose image has just been built, by writing one annotation.\n' +
        'It can change nothing else of any pod.',
      more: [],
    }),
    ...annotationOnly({
      role: 'gateway',
      of: { plural: 'builds', one: 'a Build', group, version },
      annotation: pullPrefix,
      comment:
        'A gateway that holds the pull of an image that a Build waits for says so on the Build, and changes nothing else.',
      more: [],
    }),
  ]
}

function agentAccess(namespace: string): Manifest[] {
  return [
    {
      comment: 'An agent reads the public CA and writes its report on its own pod (see the policy below).',
      object: {
        apiVersion: `${rbac}/v1`,
        kind: 'Role',
        metadata: { name: serviceAccounts.agent, namespace, labels: objectLabels('agent') },
        rules: [
          { apiGroups: [''], resources: ['configmaps'], resourceNames: [configMaps.ca], verbs: ['get'] },
          { apiGroups: [''], resources: ['pods'], verbs: ['patch'] },
        ],
      },
    },
    binding('Role', 'agent', namespace),
    ...annotationOnly({
      role: 'agent',
      of: pods,
      annotation: annotations.nodeReport,
      comment: "An agent's token is bound to its pod: it can write the report there and change no other pod.",
      more: [
        {
          // The API server puts the pod a token is bound to into the user's extra fields.
          expression:
            "request.userInfo.?extra[?'authentication.kubernetes.io/pod-uid'].orValue([]).exists(uid, uid == oldObject.metadata.uid)",
          message: 'an insitu agent may only write the report of its own pod',
        },
      ],
    }),
  ]
}

function binding(kind: 'ClusterRole' | 'Role', role: Component, namespace: string): Manifest {
  const name = serviceAccounts[role]
  return {
    comment: '',
    object: {
      apiVersion: `${rbac}/v1`,
      kind: `${kind}Binding`,
      metadata: { name, ...(kind === 'Role' ? { namespace } : {}), labels: objectLabels(role) },
      roleRef: { apiGroup: rbac, kind, name },
      subjects: [{ kind: 'ServiceAccount', name, namespace }],
    },
  }
}

interface AnnotationOnly {
  readonly role: Component
  readonly of: { readonly plural: string; readonly one: string; readonly group: string; readonly version: string }
  /** With a slash at its end: all that begin like this. */
  readonly annotation: string
  readonly comment: string
  readonly more: readonly { readonly expression: string; readonly message: string }[]
}

const pods = { plural: 'pods', one: 'a pod', group: '', version: 'v1' }

/**
 * Matches a role's service account in every namespace: kustomize changes that of the account and leaves expressions
 * alone, and a policy that names another one would narrow nobody.
 */
export const isRole = (role: Component): { readonly name: string; readonly expression: string } => ({
  name: 'who',
  expression: `request.userInfo.username.matches('^system:serviceaccount:[^:]+:${serviceAccounts[role]}$')`,
})

/** A policy for one service account: of an object it may change this annotation, and nothing else. */
function annotationOnly({ role, of, annotation, comment, more }: AnnotationOnly): Manifest[] {
  const name = `${serviceAccounts[role]}-${of.plural}`
  const allowed = annotation.endsWith('/') ? `k.startsWith('${annotation}')` : `k == '${annotation}'`
  const same = (field: string): string => `object.metadata.?${field} == oldObject.metadata.?${field}`
  const kept = (from: string, to: string): string =>
    `${from}.metadata.?annotations.orValue({}).all(k, ${allowed} || ` +
    `${to}.metadata.?annotations[?k] == optional.of(${from}.metadata.annotations[k]))`
  return [
    {
      comment,
      object: {
        apiVersion: admission,
        kind: 'ValidatingAdmissionPolicy',
        metadata: { name, labels: objectLabels(role) },
        spec: {
          failurePolicy: 'Fail',
          matchConstraints: {
            resourceRules: [
              { apiGroups: [of.group], apiVersions: [of.version], operations: ['UPDATE'], resources: [of.plural] },
            ],
          },
          matchConditions: [isRole(role)],
          validations: [
            {
              expression: [
                'object.spec == oldObject.spec',
                same('labels'),
                same('ownerReferences'),
                same('finalizers'),
                kept('object', 'oldObject'),
                kept('oldObject', 'object'),
              ].join(' && '),
              message: `an insitu ${role} may only change the annotation ${annotation} of ${of.one}`,
            },
            ...more,
          ],
        },
      },
    },
    {
      comment: '',
      object: {
        apiVersion: admission,
        kind: 'ValidatingAdmissionPolicyBinding',
        metadata: { name, labels: objectLabels(role) },
        spec: { policyName: name, validationActions: ['Deny'] },
      },
    },
  ]
}
