import { createHash } from 'node:crypto'
import { type KubernetesObject, noSidecar, objectLabels } from './object.ts'
import { pullSecrets } from './pod.ts'

export interface CleanPod {
  readonly namespace: string
  readonly node: string
  readonly image: string
  readonly imagePullSecrets?: readonly string[] | undefined
  readonly buildkitRoot: string
  /** The agents' `--containerd-address`, if they had one. */
  readonly containerdAddress: string | undefined
  readonly keepCache: boolean
}

/** On the pods that clean a node. */
export const cleanLabel = { 'app.kubernetes.io/component': 'clean-node' } as const

/** One pod for one node. It is bound to it directly: a node that is cordoned has to be cleaned too. */
export const cleanPod = (options: CleanPod): KubernetesObject => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: {
    // Node names may be longer than a pod's name could hold with a prefix.
    name: `insitu-clean-${createHash('sha256').update(options.node).digest('hex').slice(0, 16)}`,
    namespace: options.namespace,
    labels: { ...objectLabels(), ...cleanLabel, ...noSidecar.labels },
    annotations: noSidecar.annotations,
  },
  spec: {
    nodeName: options.node,
    restartPolicy: 'OnFailure',
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    ...pullSecrets(options.imagePullSecrets),
    // The node's own mounts, processes and files are reached through /proc/1.
    hostPID: true,
    terminationGracePeriodSeconds: 5,
    tolerations: [{ operator: 'Exists' }],
    containers: [
      {
        name: 'clean',
        image: options.image,
        imagePullPolicy: 'IfNotPresent',
        args: [
          'clean-node',
          ...['--root', options.buildkitRoot],
          ...(options.containerdAddress === undefined ? [] : ['--containerd-address', options.containerdAddress]),
          ...(options.keepCache ? ['--keep-cache'] : []),
          ...['--result-file', '/dev/termination-log'],
        ],
        resources: { requests: { cpu: '10m', memory: '64Mi' } },
        securityContext: { privileged: true, runAsUser: 0, runAsGroup: 0, runAsNonRoot: false },
      },
    ],
  },
})
