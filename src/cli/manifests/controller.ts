import { buildUidLabel } from '../../api/builds/work.ts'
import { configMaps, group, ports, secretReader, serviceAccounts } from '../../api/names.ts'
import { isRole } from './access.ts'
import { type Manifest, objectLabels, podSelector } from './object.ts'
import type { ManifestOptions } from './options.ts'
import {
  apiToken,
  downwardEnv,
  logArguments,
  podMetadata,
  probes,
  pullSecrets,
  spreadOverNodes,
  unprivileged,
} from './pod.ts'

const rbac = 'rbac.authorization.k8s.io'
const admission = 'admissionregistration.k8s.io/v1'
const name = serviceAccounts.controller

/** What turns Builds into Jobs: two replicas, of which one acts. */
export function controller(options: ManifestOptions): Manifest[] {
  const { namespace } = options
  const selector = podSelector('controller')
  return [
    {
      comment: '',
      object: {
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: { name, namespace, labels: objectLabels('controller') },
        spec: {
          replicas: 2,
          selector: { matchLabels: selector },
          strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
          template: { metadata: podMetadata('controller', {}), spec: pod(options) },
        },
      },
    },
  ]
}

function pod(options: ManifestOptions): Record<string, unknown> {
  return {
    serviceAccountName: name,
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    ...pullSecrets(options.imagePullSecrets),
    nodeSelector: { 'kubernetes.io/os': 'linux' },
    securityContext: unprivileged.pod,
    topologySpreadConstraints: spreadOverNodes('controller'),
    containers: [
      {
        name: 'controller',
        image: options.image,
        imagePullPolicy: 'IfNotPresent',
        terminationMessagePolicy: 'FallbackToLogsOnError',
        args: ['controller', '--namespace', options.namespace, '--image', options.image, ...logArguments(options)],
        env: downwardEnv(),
        ports: [{ name: 'metrics', containerPort: ports.metrics, protocol: 'TCP' }],
        ...probes(),
        resources: { requests: { cpu: '20m', memory: '96Mi' } },
        securityContext: unprivileged.container,
        volumeMounts: [apiToken.mount, { name: 'config', mountPath: '/etc/insitu', readOnly: true }],
      },
    ],
    volumes: [apiToken.volume, { name: 'config', configMap: { name: configMaps.insitu, optional: true } }],
  }
}

/** Jobs in every namespace, because Builds are in every namespace; Secrets where somebody says so. */
export function controllerAccess(namespace: string): Manifest[] {
  const subjects = [{ kind: 'ServiceAccount', name, namespace }]
  const metadata = { name, labels: objectLabels('controller') }
  return [
    {
      comment: 'The identity of the controllers.',
      object: {
        apiVersion: 'v1',
        kind: 'ServiceAccount',
        metadata: { ...metadata, namespace },
        automountServiceAccountToken: false,
      },
    },
    {
      comment: 'Builds become Jobs. No Secret is read: the kubelet brings those of a service account to the pods.',
      object: {
        apiVersion: `${rbac}/v1`,
        kind: 'ClusterRole',
        metadata,
        rules: [
          { apiGroups: [group], resources: ['builds'], verbs: ['get', 'list', 'watch', 'create', 'patch', 'delete'] },
          { apiGroups: [group], resources: ['builds/status'], verbs: ['update'] },
          // An owner that blocks its deletion wants this; ours do not, but a cluster may insist on it.
          { apiGroups: [group], resources: ['builds/finalizers'], verbs: ['update'] },
          {
            apiGroups: [group],
            resources: ['buildtemplates', 'clusterbuildtemplates'],
            verbs: ['get', 'list', 'watch'],
          },
          { apiGroups: ['batch'], resources: ['jobs'], verbs: ['list', 'watch', 'create', 'delete'] },
          { apiGroups: [''], resources: ['pods'], verbs: ['list', 'watch', 'delete'] },
          { apiGroups: [''], resources: ['serviceaccounts', 'configmaps'], verbs: ['get'] },
          // A Job whose pod is refused says why in its events alone.
          { apiGroups: [''], resources: ['events'], verbs: ['create', 'list'] },
        ],
      },
    },
    {
      comment: '',
      object: {
        apiVersion: `${rbac}/v1`,
        kind: 'ClusterRoleBinding',
        metadata,
        roleRef: { apiGroup: rbac, kind: 'ClusterRole', name },
        subjects,
      },
    },
    ...ownPodsOnly(),
    {
      comment:
        'Bound to nobody. A RoleBinding to the controllers in a namespace lets Builds there push with basic-auth Secrets\n' +
        'whose annotations build.knative.dev/docker-N name registries; docker-registry Secrets need none.',
      object: {
        apiVersion: `${rbac}/v1`,
        kind: 'ClusterRole',
        metadata: { ...metadata, name: secretReader },
        rules: [{ apiGroups: [''], resources: ['secrets'], verbs: ['get'] }],
      },
    },
    {
      comment: 'Which of the controllers acts.',
      object: {
        apiVersion: `${rbac}/v1`,
        kind: 'Role',
        metadata: { ...metadata, namespace },
        rules: [
          { apiGroups: ['coordination.k8s.io'], resources: ['leases'], verbs: ['create'] },
          {
            apiGroups: ['coordination.k8s.io'],
            resources: ['leases'],
            resourceNames: [name],
            verbs: ['get', 'update', 'delete'],
          },
        ],
      },
    },
    {
      comment: '',
      object: {
        apiVersion: `${rbac}/v1`,
        kind: 'RoleBinding',
        metadata: { ...metadata, namespace },
        roleRef: { apiGroup: rbac, kind: 'Role', name },
        subjects,
      },
    },
  ]
}

/** RBAC cannot say "only pods of Builds". */
function ownPodsOnly(): Manifest[] {
  const metadata = { name: `${name}-pods`, labels: objectLabels('controller') }
  return [
    {
      comment: 'Pods of Builds on a node that is lost are given up by the controllers; they delete no others.',
      object: {
        apiVersion: admission,
        kind: 'ValidatingAdmissionPolicy',
        metadata,
        spec: {
          failurePolicy: 'Fail',
          matchConstraints: {
            resourceRules: [{ apiGroups: [''], apiVersions: ['v1'], operations: ['DELETE'], resources: ['pods'] }],
          },
          matchConditions: [isRole('controller')],
          validations: [
            {
              expression: `has(oldObject.metadata.deletionTimestamp) && '${buildUidLabel}' in oldObject.metadata.?labels.orValue({})`,
              message: 'an insitu controller may only delete pods of Builds that are deleted already',
            },
          ],
        },
      },
    },
    {
      comment: '',
      object: {
        apiVersion: admission,
        kind: 'ValidatingAdmissionPolicyBinding',
        metadata,
        spec: { policyName: metadata.name, validationActions: ['Deny'] },
      },
    },
  ]
}
