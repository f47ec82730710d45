import { labels, rootlessAgent, serviceAccounts, serviceName } from '../../api/names.ts'
import type { NodeReport } from '../../api/node-report.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import { resources } from '../../kernel/k8s/resources.ts'
import { type Explanation, explainPod, reportOf } from './explain.ts'
import type { ClusterEvent, Pod, Service, Workload } from './objects.ts'

export interface RolePod {
  readonly name: string
  readonly node: string | undefined
  /** An agent without privilege. */
  readonly rootless: boolean
  readonly ready: boolean
  readonly restarts: number
  readonly report: NodeReport | undefined
  /** Why it is not ready. */
  readonly problem: Explanation | undefined
}

/** An installation as it is now. Absent parts are undefined. */
export interface Installation {
  readonly namespace: string
  readonly deployment: Workload | undefined
  /** The Deployment of the controllers of Builds. */
  readonly builder: Workload | undefined
  readonly daemonSet: Workload | undefined
  /** The agents without privilege. */
  readonly rootless: Workload | undefined
  readonly service: Service | undefined
  readonly gateways: readonly RolePod[]
  readonly agents: readonly RolePod[]
  readonly controllers: readonly RolePod[]
  /** Events of the workloads themselves: why pods are not even made. */
  readonly warnings: readonly string[]
}

/** Reads everything once. */
export async function readInstallation(client: KubernetesClient, namespace: string): Promise<Installation> {
  const name = { gateway: serviceAccounts.gateway, agent: serviceAccounts.agent }
  const [deployment, builder, daemonSet, rootless, service, pods, events] = await Promise.all([
    client.find<Workload>(resources.deployments, { namespace, name: name.gateway }),
    client.find<Workload>(resources.deployments, { namespace, name: serviceAccounts.controller }),
    client.find<Workload>(resources.daemonSets, { namespace, name: name.agent }),
    client.find<Workload>(resources.daemonSets, { namespace, name: rootlessAgent }),
    client.find<Service>(resources.services, { namespace, name: serviceName }),
    client.list<Pod>(resources.pods, { namespace, labelSelector: labels.role }),
    client.list<ClusterEvent>(resources.events, { namespace }),
  ])
  const of = (role: string): RolePod[] =>
    pods
      .filter((pod) => pod.metadata?.labels?.[labels.role] === role)
      .map((pod) => describe(pod, events))
      .toSorted((a, b) => (a.node ?? '').localeCompare(b.node ?? '') || a.name.localeCompare(b.name))
  return {
    namespace,
    deployment,
    builder,
    daemonSet,
    rootless,
    service,
    gateways: of('gateway'),
    agents: of('agent'),
    controllers: of('controller'),
    warnings: [
      ...new Set(
        events
          .filter((e) => aboutWorkload(e, [deployment, builder], [daemonSet, rootless]))
          .map((e) => e.message ?? ''),
      ),
    ],
  }
}

function describe(pod: Pod, events: readonly ClusterEvent[]): RolePod {
  const own = events.filter((e) => e.involvedObject?.uid === pod.metadata?.uid)
  const problem = explainPod(pod, own)
  return {
    name: pod.metadata?.name ?? '',
    node: pod.spec?.nodeName,
    rootless: pod.metadata?.labels?.[labels.mode] === 'rootless',
    ready: problem === undefined,
    restarts: pod.status?.containerStatuses?.[0]?.restartCount ?? 0,
    report: reportOf(pod),
    problem,
  }
}

type Workloads = readonly (Workload | undefined)[]

/** A warning about one of our workloads that is still there, or about the ReplicaSets of the deployments. */
function aboutWorkload(event: ClusterEvent, deployments: Workloads, sets: Workloads): boolean {
  const { kind, name, uid } = event.involvedObject ?? {}
  if (event.type !== 'Warning') return false
  const replicaSet = (of: string | undefined): boolean => of !== undefined && name?.startsWith(`${of}-`) === true
  return (
    [...deployments, ...sets].some((w) => w?.metadata?.uid !== undefined && w.metadata.uid === uid) ||
    (kind === 'ReplicaSet' && deployments.some((w) => replicaSet(w?.metadata?.name)))
  )
}
