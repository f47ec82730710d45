import { image, namespace } from '../../api/names.ts'
import { version } from '../version.ts'

/** Where a distribution keeps its containerd; all paths are absolute and on the node. */
export interface HostPaths {
  /** containerd's `root`: content store and snapshots. */
  readonly containerdRoot: string
  /** containerd's `state`, or the directory above it that also holds the socket. */
  readonly containerdState: string
  /** BuildKit's root, which insitu makes. */
  readonly buildkitRoot: string
}

export interface Toleration {
  readonly key?: string
  readonly operator: 'Exists' | 'Equal'
  readonly value?: string
  readonly effect?: string
}

export const modes = ['node', 'rootless', 'mixed'] as const
/**
 * `node`: builds go into the containerd of the nodes, by privileged agents. `rootless`: agents without privilege, whose
 * images are pushed. `mixed`: the latter on nodes labelled insitu.build/mode=rootless.
 */
export type Mode = (typeof modes)[number]

export const logLevels = ['trace', 'debug', 'info', 'warn', 'error'] as const
export type LogLevel = (typeof logLevels)[number]

/** Everything that an installation can be told. The defaults give install/buildkit.yaml. */
export interface ManifestOptions {
  readonly namespace: string
  readonly image: string
  /** Secrets of the namespace with which kubelets pull it. */
  readonly imagePullSecrets: readonly string[]
  readonly replicas: number
  readonly mode: Mode
  readonly paths: HostPaths
  /** CIDRs whose clients may use port 2375 without TLS. */
  readonly allowPlaintext: readonly string[]
  /** Environment of the agent pods: the proxy variables that RUN steps get. */
  readonly agentEnv: Readonly<Record<string, string>>
  /** Taints that agents tolerate besides those of every DaemonSet. */
  readonly tolerations: readonly Toleration[]
  /** Nodes that get an agent; `kubernetes.io/os: linux` is always part of it. */
  readonly nodeSelector: Readonly<Record<string, string>>
  readonly agentPriorityClass: string
  /** Of gateways, agents and controllers. */
  readonly logLevel: LogLevel
  /** The user's buildkitd.toml; undefined leaves a ConfigMap that is there alone. */
  readonly buildkitdToml: string | undefined
  /** Texts of ConfigMaps that are there and stay: pods that read another one are old. */
  readonly present: { readonly buildkitdToml?: string | undefined; readonly insituToml?: string | undefined }
}

export const distributions = ['kubeadm', 'k3s', 'rke2', 'microk8s', 'kind'] as const
export type Distribution = (typeof distributions)[number]

const usual = { containerdRoot: '/var/lib/containerd', containerdState: '/run/containerd' }

/** From the distributions' own documentation; kubeadm stands for everything that runs an ordinary containerd. */
export const distributionPaths: Readonly<Record<Distribution, Omit<HostPaths, 'buildkitRoot'>>> = {
  kubeadm: usual,
  kind: usual,
  k3s: { containerdRoot: '/var/lib/rancher/k3s/agent/containerd', containerdState: '/run/k3s/containerd' },
  rke2: { containerdRoot: '/var/lib/rancher/rke2/agent/containerd', containerdState: '/run/k3s/containerd' },
  microk8s: {
    containerdRoot: '/var/snap/microk8s/common/var/lib/containerd',
    containerdState: '/var/snap/microk8s/common/run',
  },
}

export const defaultBuildkitRoot = '/var/lib/buildkit'

export const defaultOptions = (): ManifestOptions => ({
  namespace,
  image: `${image}:${version()}`,
  imagePullSecrets: [],
  replicas: 2,
  mode: 'node',
  paths: { ...distributionPaths.kubeadm, buildkitRoot: defaultBuildkitRoot },
  allowPlaintext: [],
  agentEnv: {},
  tolerations: [],
  nodeSelector: {},
  agentPriorityClass: 'system-node-critical',
  logLevel: 'info',
  buildkitdToml: undefined,
  present: {},
})
