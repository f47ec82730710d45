import { configMaps, doctorVariables, labels, ports, rootlessAgent, serviceAccounts } from '../../api/names.ts'
import { type Manifest, objectLabels, podSelector } from './object.ts'
import type { ManifestOptions } from './options.ts'
import {
  apiToken,
  downwardEnv,
  identityToken,
  logArguments,
  podMetadata,
  probes,
  pullSecrets,
  variables,
} from './pod.ts'

/** The user of insitu's image who owns a range of subordinate users, see the Dockerfile. */
const user = 10_001

/** What the daemon writes. Nothing of it is the node's: Kubernetes takes it away with the pod. */
const writable = {
  root: '/var/lib/buildkit',
  run: '/run/buildkit',
  // runc keeps the state of RUN steps here.
  runc: '/run/runc',
  tmp: '/tmp',
} as const

/** Agents that Pod Security admits as baseline: no host paths, no privilege, a daemon with a store of its own. */
export function rootlessAgents(options: ManifestOptions): Manifest[] {
  if (options.mode === 'node') return []
  const mode = { [labels.mode]: 'rootless' }
  // The role's label is the same: gateways find agents of both modes by it.
  const selector = { ...podSelector('agent'), ...mode }
  return [
    {
      comment:
        'Without privilege: buildkitd runs as an ordinary user in a user namespace. Images cannot stay on the node; they are\n' +
        'pushed, or go to the client.',
      object: {
        apiVersion: 'apps/v1',
        kind: 'DaemonSet',
        metadata: { name: rootlessAgent, namespace: options.namespace, labels: objectLabels('agent') },
        spec: {
          selector: { matchLabels: selector },
          updateStrategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 0, maxUnavailable: 1 } },
          template: {
            metadata: podMetadata('agent', mode, options.buildkitdToml ?? options.present.buildkitdToml),
            spec: rootlessPod(options, options.mode === 'mixed' ? mode : {}),
          },
        },
      },
    },
  ]
}

const rootlessPod = (options: ManifestOptions, mode: Readonly<Record<string, string>>): Record<string, unknown> => ({
  serviceAccountName: serviceAccounts.agent,
  automountServiceAccountToken: false,
  enableServiceLinks: false,
  ...pullSecrets(options.imagePullSecrets),
  // RUN steps leave processes to the first one of the pod, and pause buries the dead.
  shareProcessNamespace: true,
  priorityClassName: options.agentPriorityClass,
  terminationGracePeriodSeconds: 7260,
  nodeSelector: { 'kubernetes.io/os': 'linux', ...options.nodeSelector, ...mode },
  ...(options.tolerations.length === 0 ? {} : { tolerations: options.tolerations }),
  // No seccompProfile: Pod Security allows no Unconfined, and RuntimeDefault forbids user namespaces. No fsGroup: it
  // would set a bit on directories that ends up in images.
  securityContext: { runAsNonRoot: true, runAsUser: user, runAsGroup: user },
  containers: [
    {
      name: 'agent',
      image: options.image,
      imagePullPolicy: 'IfNotPresent',
      terminationMessagePolicy: 'FallbackToLogsOnError',
      args: ['agent', '--rootless', ...logArguments(options)],
      env: [
        ...downwardEnv(),
        ...variables({ HOME: writable.tmp, [doctorVariables.rootless]: 'true', ...options.agentEnv }),
      ],
      envFrom: [{ secretRef: { name: 'insitu-proxy', optional: true } }],
      ports: [
        { name: 'agent', containerPort: ports.agent, protocol: 'TCP' },
        { name: 'metrics', containerPort: ports.metrics, protocol: 'TCP' },
      ],
      ...probes(),
      // RUN steps are in the pod's cgroup here: a limit of memory would be theirs as well.
      resources: { requests: { cpu: '100m', memory: '256Mi' } },
      securityContext: {
        // newuidmap and newgidmap, which write the table of users, have one of these capabilities each as their own.
        allowPrivilegeEscalation: true,
        capabilities: { drop: ['ALL'], add: ['SETUID', 'SETGID'] },
        readOnlyRootFilesystem: true,
      },
      volumeMounts: [
        ...Object.entries(writable).map(([name, mountPath]) => ({ name, mountPath })),
        { name: 'config', mountPath: '/etc/buildkit', readOnly: true },
        { name: 'insitu-config', mountPath: '/etc/insitu', readOnly: true },
        identityToken.mount,
        apiToken.mount,
      ],
    },
  ],
  volumes: [
    ...Object.keys(writable).map((name) => ({ name, emptyDir: {} })),
    { name: 'config', configMap: { name: configMaps.buildkitd, optional: true } },
    { name: 'insitu-config', configMap: { name: configMaps.insitu, optional: true } },
    identityToken.volume,
    apiToken.volume,
  ],
})
