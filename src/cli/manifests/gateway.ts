import { configMaps, gatewaysService, ports, serviceAccounts, serviceName } from '../../api/names.ts'
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
import { type Manifest, objectLabels, podSelector } from './object.ts'
import type { ManifestOptions } from './options.ts'

/** The address clients use, and the unprivileged, stateless program behind it. */
export function gateway(options: ManifestOptions): Manifest[] {
  const { namespace } = options
  const selector = podSelector('gateway')
  const config = insituToml(options)
  return [
    ...(config === undefined
      ? []
      : [
          {
            comment: 'Clients that may use port 2375 without TLS.',
            object: {
              apiVersion: 'v1',
              kind: 'ConfigMap',
              metadata: { name: configMaps.insitu, namespace, labels: objectLabels('gateway') },
              data: { 'insitu.toml': config },
            },
          },
        ]),
    {
      comment: 'The address of every build: tcp 2375, and 1234 for those who are used to buildkitd.',
      object: {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name: serviceName, namespace, labels: objectLabels('gateway') },
        spec: {
          type: 'ClusterIP',
          selector,
          ports: [
            { name: 'buildkit', port: ports.clients, targetPort: 'buildkit', protocol: 'TCP' },
            { name: 'buildkit-alias', port: ports.clientsAlias, targetPort: 'buildkit', protocol: 'TCP' },
          ],
        },
      },
    },
    {
      comment:
        'Agents ask every gateway who has an image: this name resolves to all of them. Also to those that are not ready:\n' +
        'one that stops still knows of the builds it finishes, and one that starts answers that it knows nothing.',
      object: {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name: gatewaysService, namespace, labels: objectLabels('gateway') },
        spec: {
          type: 'ClusterIP',
          clusterIP: 'None',
          publishNotReadyAddresses: true,
          selector,
          ports: [{ name: 'buildkit', port: ports.clients, targetPort: 'buildkit', protocol: 'TCP' }],
        },
      },
    },
    {
      comment: '',
      object: {
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: { name: serviceAccounts.gateway, namespace, labels: objectLabels('gateway') },
        spec: {
          replicas: options.replicas,
          selector: { matchLabels: selector },
          strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
          template: {
            metadata: podMetadata('gateway', {}, config ?? options.present.insituToml),
            spec: gatewayPod(options),
          },
        },
      },
    },
    {
      comment: 'A drain takes one gateway at a time.',
      object: {
        apiVersion: 'policy/v1',
        kind: 'PodDisruptionBudget',
        metadata: { name: serviceAccounts.gateway, namespace, labels: objectLabels('gateway') },
        spec: { maxUnavailable: 1, selector: { matchLabels: selector }, unhealthyPodEvictionPolicy: 'AlwaysAllow' },
      },
    },
  ]
}

/** undefined: nothing is said, and a ConfigMap that the user made is left alone. */
const insituToml = ({ allowPlaintext }: ManifestOptions): string | undefined =>
  allowPlaintext.length === 0 ? undefined : plaintextToml(allowPlaintext)

/** The part of an insitu.toml that lets ranges use port 2375 without TLS. */
export const plaintextToml = (cidrs: readonly string[]): string =>
  // A list of JSON strings is one of TOML as well, and CIDRs hold nothing that would need more.
  `[gateway.plaintext]\ncidrs = ${JSON.stringify(cidrs)}\n`

function gatewayPod(options: ManifestOptions): Record<string, unknown> {
  return {
    serviceAccountName: serviceAccounts.gateway,
    // The token is mounted by hand below: the service account's default is off, so no other pod gets one by accident.
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    ...pullSecrets(options.imagePullSecrets),
    // Running builds are finished first (gateway.maxBuildDuration); a gateway without builds leaves at once.
    terminationGracePeriodSeconds: 7260,
    nodeSelector: { 'kubernetes.io/os': 'linux' },
    securityContext: unprivileged.pod,
    topologySpreadConstraints: spreadOverNodes('gateway'),
    containers: [
      {
        name: 'gateway',
        image: options.image,
        imagePullPolicy: 'IfNotPresent',
        // The last log lines of a program that ended badly become visible in the pod's status.
        terminationMessagePolicy: 'FallbackToLogsOnError',
        args: [
          'gateway',
          '--listen',
          `tcp://:${ports.clients}`,
          '--probes',
          String(ports.metrics),
          ...logArguments(options),
        ],
        env: downwardEnv(),
        ports: [
          { name: 'buildkit', containerPort: ports.clients, protocol: 'TCP' },
          { name: 'metrics', containerPort: ports.metrics, protocol: 'TCP' },
        ],
        // Until every node has heard that it is leaving, clients still arrive; SIGTERM comes when most have.
        lifecycle: { preStop: { sleep: { seconds: 3 } } },
        ...probes(),
        resources: { requests: { cpu: '100m', memory: '128Mi' } },
        securityContext: unprivileged.container,
        volumeMounts: [
          apiToken.mount,
          { name: 'config', mountPath: '/etc/insitu', readOnly: true },
          { name: 'policy', mountPath: '/etc/insitu-policy', readOnly: true },
        ],
      },
    ],
    volumes: [
      apiToken.volume,
      { name: 'config', configMap: { name: configMaps.insitu, optional: true } },
      { name: 'policy', configMap: { name: configMaps.policy, optional: true } },
    ],
  }
}
