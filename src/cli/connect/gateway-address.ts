import { join } from 'node:path'
import { labels, ports, serviceName } from '../../api/names.ts'
import type { Env } from '../../kernel/config/env.ts'
import { InsituError, UsageError } from '../../kernel/errors.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import { kubeconfigFiles } from '../../kernel/k8s/load-endpoint.ts'
import type { KubernetesObject } from '../../kernel/k8s/objects.ts'
import { resources } from '../../kernel/k8s/resources.ts'
import type { ConnectFlags } from './options.ts'
import type { Target } from './socket.ts'

export interface Gateway {
  readonly target: Target
  /** As clients take it; undefined when the gateway is reached through a forwarding of our own. */
  readonly address: string | undefined
  close(): Promise<void>
}

interface Pod extends KubernetesObject {
  readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] }
}

/**
 * Where the gateway is: as said, or the service of the pod's own cluster, else through the API server of the kubeconfig.
 * @param directory for the socket of a forwarding.
 */
export async function reachGateway(
  flags: ConnectFlags,
  options: {
    readonly env: Env
    readonly client: () => Promise<KubernetesClient>
    readonly directory: string
    readonly onFailure: (message: string) => void
  },
): Promise<Gateway> {
  const said =
    flags.address ??
    (ownCluster(flags, options.env) ? `${serviceName}.${flags.namespace}.svc:${ports.clients}` : undefined)
  if (said !== undefined) return { ...parse(said), close: () => Promise.resolve() }
  const client = await options.client()
  const { forwardPort } = await import('../../kernel/k8s/port-forward.ts')
  const socket = join(options.directory, `forward-${process.pid}.sock`)
  const forwarding = await forwardPort({
    endpoint: client.endpoint,
    namespace: flags.namespace,
    pod: () => readyGateway(client, flags.namespace),
    port: ports.clients,
    socket,
    onFailure: options.onFailure,
  })
  return { target: { path: socket }, address: undefined, close: () => forwarding.close() }
}

/** Whether this is a pod that builds in its own cluster, with its own account: no kubeconfig names another one. */
export const ownCluster = ({ kubeconfig, context }: ConnectFlags, env: Env): boolean =>
  env['KUBERNETES_SERVICE_HOST'] !== undefined && kubeconfigFiles({ kubeconfig, context, env }) === undefined

function parse(text: string): Pick<Gateway, 'target' | 'address'> {
  const match = /^(?:tcp:\/\/)?(\[[0-9a-f:.]+\]|[^:[\]/]+):(\d{1,5})$/i.exec(text)
  const [, host = '', port = ''] = match ?? []
  if (!match || Number(port) > 65_535) {
    throw new UsageError(`--address "${text}" is not HOST:PORT`, { fix: 'e.g. buildkitd.buildkit-system.svc:2375' })
  }
  return { target: { host: host.replace(/^\[|\]$/g, ''), port: Number(port) }, address: `tcp://${host}:${port}` }
}

async function readyGateway(client: KubernetesClient, namespace: string): Promise<string> {
  const labelSelector = `${labels.role}=gateway`
  const pods = await client.list<Pod>(resources.pods, { namespace, labelSelector })
  const ready = pods.find(
    (pod) =>
      pod.metadata?.deletionTimestamp === undefined &&
      pod.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True'),
  )
  const name = ready?.metadata?.name
  if (name !== undefined) return name
  throw new InsituError('NO_GATEWAY', `no gateway is ready in namespace ${namespace}`, {
    status: 'UNAVAILABLE',
    fix: 'see insitu status, or say where insitu is with --namespace',
  })
}
