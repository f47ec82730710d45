import { createHash } from 'node:crypto'
import { annotations, ports, tokenAudience } from '../../api/names.ts'
import { type Component, noSidecar, objectLabels, type ObjectMeta, podSelector } from './object.ts'
import type { ManifestOptions } from './options.ts'

const fields: Readonly<Record<string, string>> = {
  NODE_NAME: 'spec.nodeName',
  POD_NAME: 'metadata.name',
  POD_NAMESPACE: 'metadata.namespace',
  POD_UID: 'metadata.uid',
  POD_IP: 'status.podIP',
  HOST_IP: 'status.hostIP',
}

/** Who and where the pod is, as environment variables. */
export const downwardEnv = (): readonly unknown[] =>
  Object.entries(fields).map(([name, fieldPath]) => ({
    name,
    valueFrom: { fieldRef: { apiVersion: 'v1', fieldPath } },
  }))

/** Environment variables as a container has them. */
export const variables = (values: Readonly<Record<string, string>>): readonly unknown[] =>
  Object.entries(values).map(([name, value]) => ({ name, value }))

/** `info` is what every role takes by itself. */
export const logArguments = ({ logLevel }: ManifestOptions): readonly string[] =>
  logLevel === 'info' ? [] : ['--log-level', logLevel]

/** /livez ends a process that hangs; /readyz keeps traffic and roll-outs away while it says why it is not ready. */
export const probes = (): Record<string, unknown> => ({
  startupProbe: probe('/livez', { periodSeconds: 1, failureThreshold: 60, ...hanging }),
  livenessProbe: probe('/livez', { periodSeconds: 20, failureThreshold: 6, ...hanging }),
  readinessProbe: probe('/readyz', { periodSeconds: 2, failureThreshold: 2 }),
})

/** A process that hangs finishes no builds: it need not be given the hours that a healthy one gets for them. */
const hanging = { terminationGracePeriodSeconds: 60 }

const probe = (path: string, timing: Record<string, number>): Record<string, unknown> => ({
  httpGet: { path, port: ports.metrics, scheme: 'HTTP' },
  timeoutSeconds: 5,
  ...timing,
})

/**
 * Part of a pod: what its image is pulled with. Not of service accounts: those change no pod that is there, so one that
 * waits for its image would wait for ever, and what somebody else has given an account stays.
 */
export const pullSecrets = (names: readonly string[] = []): { imagePullSecrets?: readonly { name: string }[] } =>
  names.length === 0 ? {} : { imagePullSecrets: names.map((name) => ({ name })) }

/** Security contexts of a program that needs nothing of its node: as nobody, and it writes nowhere. */
export const unprivileged = {
  pod: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
  container: {
    allowPrivilegeEscalation: false,
    capabilities: { drop: ['ALL'] },
    readOnlyRootFilesystem: true,
    runAsNonRoot: true,
    runAsUser: 65532,
    runAsGroup: 65532,
  },
} as const

/** Replicas go to different nodes where that is possible. */
export const spreadOverNodes = (role: Component): readonly unknown[] => [
  {
    maxSkew: 1,
    topologyKey: 'kubernetes.io/hostname',
    whenUnsatisfiable: 'ScheduleAnyway',
    labelSelector: { matchLabels: podSelector(role) },
  },
]

/** What a pod needs to talk to the API server: a short-lived token, the API's CA, the namespace. */
export const apiToken = {
  mount: { name: 'api', mountPath: '/var/run/secrets/kubernetes.io/serviceaccount', readOnly: true },
  volume: {
    name: 'api',
    projected: {
      sources: [
        { serviceAccountToken: { path: 'token', expirationSeconds: 3607 } },
        { configMap: { name: 'kube-root-ca.crt', items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
        {
          downwardAPI: {
            items: [{ path: 'namespace', fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.namespace' } }],
          },
        },
      ],
    },
  },
} as const

/** The token an agent proves itself with to the gateway: no use to anybody else, because of its audience. */
export const identityToken = {
  mount: { name: 'identity', mountPath: '/var/run/secrets/insitu.build', readOnly: true },
  volume: {
    name: 'identity',
    projected: {
      sources: [{ serviceAccountToken: { path: 'token', audience: tokenAudience, expirationSeconds: 3600 } }],
    },
  },
} as const

/**
 * The metadata of a role's pods, as a template has it. Our programs read their configuration at start: another text
 * makes other pods.
 */
export const podMetadata = (role: Component, more: Readonly<Record<string, string>>, config?: string): PodMetadata => ({
  labels: { ...objectLabels(role), ...podSelector(role), ...more, ...noSidecar.labels },
  annotations: {
    ...noSidecar.annotations,
    ...(config === undefined ? {} : { [annotations.config]: createHash('sha256').update(config).digest('hex') }),
  },
})

type PodMetadata = Required<Pick<ObjectMeta, 'labels' | 'annotations'>>
