import { configMaps, doctorVariables, labels, ports, serviceAccounts } from '../../api/names.ts'
import { type Manifest, objectLabels, podSelector } from './object.ts'
import { defaultBuildkitRoot, distributionPaths, type HostPaths, type ManifestOptions } from './options.ts'
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

/**
 * Kubernetes' own classes of priority may be closed to namespaces without a quota for them, as on GKE. This one has no
 * limit that anybody could reach. It stands before everything else: pods are refused until its use has been counted.
 */
export function priorityQuota({ namespace, agentPriorityClass }: ManifestOptions): Manifest[] {
  if (!agentPriorityClass.startsWith('system-')) return []
  return [
    {
      comment: `Without it a cluster may refuse pods of the class ${agentPriorityClass} outside kube-system, as GKE does.`,
      object: {
        apiVersion: 'v1',
        kind: 'ResourceQuota',
        metadata: { name: serviceAccounts.agent, namespace, labels: objectLabels('agent') },
        spec: {
          hard: { pods: '1G' },
          scopeSelector: {
            matchExpressions: [{ scopeName: 'PriorityClass', operator: 'In', values: [agentPriorityClass] }],
          },
        },
      },
    },
  ]
}

/** One privileged pod per node that runs buildkitd on the node's containerd, and a fence around its port. */
export function agent(options: ManifestOptions): Manifest[] {
  const { namespace } = options
  const selector = podSelector('agent')
  const toml = options.buildkitdToml
  return [
    ...(toml === undefined
      ? []
      : [
          {
            comment: 'The configuration of the build daemons.',
            object: {
              apiVersion: 'v1',
              kind: 'ConfigMap',
              metadata: { name: configMaps.buildkitd, namespace, labels: objectLabels('agent') },
              data: { 'buildkitd.toml': toml },
            },
          },
        ]),
    ...(options.mode === 'rootless' ? [] : [nodeAgents(options)]),
    {
      comment:
        'Builds reach a daemon through a gateway only; agents read images from each other. (The port wants their certificates\n' +
        'anyway.) The mirror is for the node itself, which no policy keeps out.',
      object: {
        apiVersion: 'networking.k8s.io/v1',
        kind: 'NetworkPolicy',
        metadata: { name: serviceAccounts.agent, namespace, labels: objectLabels('agent') },
        spec: {
          podSelector: { matchLabels: selector },
          policyTypes: ['Ingress'],
          ingress: [
            {
              from: [
                { podSelector: { matchLabels: podSelector('gateway') } },
                { podSelector: { matchLabels: selector } },
              ],
              ports: [{ port: ports.agent, protocol: 'TCP' }],
            },
            { ports: [{ port: ports.metrics, protocol: 'TCP' }] },
          ],
        },
      },
    },
  ]
}

/** The privileged agents. A node that is labelled for the other mode is not theirs. */
const nodeAgents = (options: ManifestOptions): Manifest => ({
  comment:
    'Privileged, because buildkitd mounts and unpacks images for the containerd of the node. It has its own network:\n' +
    "RUN steps reach what pods reach, and not the node's loopback.",
  object: {
    apiVersion: 'apps/v1',
    kind: 'DaemonSet',
    metadata: { name: serviceAccounts.agent, namespace: options.namespace, labels: objectLabels('agent') },
    spec: {
      selector: { matchLabels: podSelector('agent') },
      // Never two on one node: a starting buildkitd deletes the temporary leases of another in the same namespace.
      updateStrategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 0, maxUnavailable: 1 } },
      template: {
        metadata: podMetadata('agent', {}, options.buildkitdToml ?? options.present.buildkitdToml),
        spec: agentPod(options),
      },
    },
  },
})

function agentPod(options: ManifestOptions): Record<string, unknown> {
  const volumes = hostVolumes(options.paths)
  return {
    serviceAccountName: serviceAccounts.agent,
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    ...pullSecrets(options.imagePullSecrets),
    // Mounts are proved to propagate by looking at the node's own mount table, /proc/1/mountinfo.
    hostPID: true,
    priorityClassName: options.agentPriorityClass,
    // Running builds are finished first; then buildkitd puts its mounts away. An agent without builds leaves at once.
    terminationGracePeriodSeconds: 7260,
    nodeSelector: { 'kubernetes.io/os': 'linux', ...options.nodeSelector },
    affinity: {
      nodeAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: {
          nodeSelectorTerms: [{ matchExpressions: [{ key: labels.mode, operator: 'NotIn', values: ['rootless'] }] }],
        },
      },
    },
    ...(options.tolerations.length === 0 ? {} : { tolerations: options.tolerations }),
    containers: [
      {
        name: 'agent',
        image: options.image,
        imagePullPolicy: 'IfNotPresent',
        // The last log lines of a program that ended badly become visible in the pod's status.
        terminationMessagePolicy: 'FallbackToLogsOnError',
        args: ['agent', ...pathArguments(options.paths), ...logArguments(options)],
        env: [...downwardEnv(), ...variables({ ...pathVariables(options.paths), ...options.agentEnv })],
        // Proxy variables with a password in them: kubectl create secret generic insitu-proxy --from-file=HTTPS_PROXY=…
        envFrom: [{ secretRef: { name: 'insitu-proxy', optional: true } }],
        ports: [
          { name: 'agent', containerPort: ports.agent, protocol: 'TCP' },
          // For the containerd of the node, which is not in the pod's network. On loopback: nobody else gets there.
          { name: 'mirror', containerPort: ports.mirror, hostPort: ports.mirror, hostIP: '127.0.0.1', protocol: 'TCP' },
          { name: 'metrics', containerPort: ports.metrics, protocol: 'TCP' },
        ],
        ...probes(),
        // Build steps do not live in the pod's cgroup; this is for the agent and buildkitd.
        resources: { requests: { cpu: '100m', memory: '256Mi' } },
        securityContext: { privileged: true, runAsUser: 0, runAsGroup: 0, runAsNonRoot: false },
        volumeMounts: [
          ...volumes.map(({ name, path }) => ({ name, mountPath: path, mountPropagation: 'Bidirectional' })),
          runDirectory.mount,
          { name: 'config', mountPath: '/etc/buildkit', readOnly: true },
          { name: 'insitu-config', mountPath: '/etc/insitu', readOnly: true },
          { name: 'proxy', mountPath: '/etc/insitu-proxy', readOnly: true },
          identityToken.mount,
          apiToken.mount,
        ],
      },
    ],
    volumes: [
      ...volumes.map(({ name, path, type }) => ({ name, hostPath: { path, type } })),
      runDirectory.volume,
      { name: 'config', configMap: { name: configMaps.buildkitd, optional: true } },
      { name: 'insitu-config', configMap: { name: configMaps.insitu, optional: true } },
      { name: 'proxy', configMap: { name: configMaps.proxy, optional: true } },
      identityToken.volume,
      apiToken.volume,
    ],
  }
}

/**
 * Sockets, and what the daemon is configured with. In memory: a container's own files are on containerd's disk, and when
 * that is full a daemon has to start all the same.
 */
const runDirectory = {
  volume: { name: 'run', emptyDir: { medium: 'Memory', sizeLimit: '16Mi' } },
  mount: { name: 'run', mountPath: '/run/buildkit' },
}

/** The agent finds a distribution's usual places by itself; only others are said. */
function ownPlaces(paths: HostPaths): { readonly containerdAddress?: string; readonly root?: string } {
  const known = Object.values(distributionPaths).some((usual) => usual.containerdState === paths.containerdState)
  return {
    ...(known ? {} : { containerdAddress: `${paths.containerdState}/containerd.sock` }),
    ...(paths.buildkitRoot === defaultBuildkitRoot ? {} : { root: paths.buildkitRoot }),
  }
}

/** `insitu uninstall` reads them as well. */
function pathArguments(paths: HostPaths): string[] {
  const { containerdAddress, root } = ownPlaces(paths)
  return [
    ...(containerdAddress === undefined ? [] : ['--containerd-address', containerdAddress]),
    ...(root === undefined ? [] : ['--root', root]),
  ]
}

/** The same for `insitu doctor`, which does not see the agent's arguments. */
const pathVariables = (paths: HostPaths): Record<string, string> =>
  Object.fromEntries(
    Object.entries(ownPlaces(paths)).map(([place, value]) => [
      doctorVariables[place as keyof typeof doctorVariables],
      value,
    ]),
  )

interface HostVolume {
  readonly name: string
  readonly path: string
  /** `Directory` must be there: a node with another layout is told apart instead of getting an empty directory. */
  readonly type: 'Directory' | 'DirectoryOrCreate'
}

/** Each at its own path in the pod: BuildKit and containerd hand each other paths. */
function hostVolumes(paths: HostPaths): HostVolume[] {
  const fifos = '/run/containerd'
  return [
    { name: 'containerd-root', path: paths.containerdRoot, type: 'Directory' },
    { name: 'containerd-state', path: paths.containerdState, type: 'Directory' },
    // containerd's client opens its FIFOs below /run/containerd even where the containerd of the node lives elsewhere.
    ...(paths.containerdState === fifos
      ? []
      : [{ name: 'containerd-fifos', path: fifos, type: 'DirectoryOrCreate' } as const]),
    { name: 'buildkit-root', path: paths.buildkitRoot, type: 'DirectoryOrCreate' },
  ]
}
