import { net } from './layout.ts'
import { kubectl } from './control-plane.ts'
import { foreignPolicy } from './foreign.ts'
import { corednsImage } from './images/base.ts'
import { waitFor } from './wait.ts'

const labels = { 'k8s-app': 'kube-dns' }
const metadata = { name: 'coredns', namespace: 'kube-system' }

/** Everything that is not the cluster's goes to the machine's servers; a machine without any has no other names. */
const corefile = (servers: readonly string[]): string => `.:53 {
  errors
  health
  ready
  kubernetes cluster.local in-addr.arpa ip6.arpa {
    pods insecure
    fallthrough in-addr.arpa ip6.arpa
    ttl 5
  }
${servers.length > 0 ? `  forward . ${servers.join(' ')}\n` : ''}  cache 5
  reload
}
`

/** CoreDNS, as clusters have it: service names for pods, everything else to the machine's own servers. */
const dns = (servers: readonly string[]): readonly object[] => [
  { apiVersion: 'v1', kind: 'ServiceAccount', metadata },
  {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRole',
    metadata: { name: 'system:coredns' },
    rules: [
      { apiGroups: [''], resources: ['services', 'pods', 'namespaces'], verbs: ['list', 'watch'] },
      { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: ['list', 'watch'] },
    ],
  },
  {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRoleBinding',
    metadata: { name: 'system:coredns' },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'system:coredns' },
    subjects: [{ kind: 'ServiceAccount', ...metadata }],
  },
  { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { Corefile: corefile(servers) } },
  {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata,
    spec: {
      replicas: 1,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          serviceAccountName: 'coredns',
          priorityClassName: 'system-cluster-critical',
          dnsPolicy: 'Default',
          // A dead node must not take the names of the others with it for minutes.
          tolerations: [{ operator: 'Exists', effect: 'NoSchedule' }],
          containers: [
            {
              name: 'coredns',
              image: corednsImage,
              imagePullPolicy: 'IfNotPresent',
              args: ['-conf', '/etc/coredns/Corefile'],
              readinessProbe: { httpGet: { path: '/ready', port: 8181 }, periodSeconds: 1 },
              volumeMounts: [{ name: 'config', mountPath: '/etc/coredns', readOnly: true }],
            },
          ],
          volumes: [{ name: 'config', configMap: { name: 'coredns' } }],
        },
      },
    },
  },
  {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'kube-dns', namespace: 'kube-system', labels },
    spec: {
      clusterIP: net.dnsService,
      selector: labels,
      ports: [
        { name: 'dns', port: 53, protocol: 'UDP' },
        { name: 'dns-tcp', port: 53, protocol: 'TCP' },
      ],
    },
  },
]

/**
 * @param servers IPv4 addresses of the machine's DNS servers
 * @param foreign nodes of the other architecture
 */
export async function applyAddons(servers: readonly string[], foreign: readonly string[]): Promise<void> {
  const items = [...foreignPolicy(foreign), ...dns(servers)]
  const input = JSON.stringify({ apiVersion: 'v1', kind: 'List', items })
  const args = ['apply', '--server-side', '--force-conflicts', '-f', '-']
  // An API server that is ready has once not said for half a minute what it serves, which kubectl asks first.
  await waitFor('the API server to take addons', () => kubectl(args, { input }), { timeout: 60_000 })
}

export const waitForDns = () =>
  kubectl(['-n', 'kube-system', 'rollout', 'status', 'deployment/coredns', '--timeout=60s'], { timeout: 70_000 })
