/** Taints of nodes that will be gone soon, by who sets them. Candidates for removal, which may stay, are not among them. */
const known: ReadonlyMap<string, string> = new Map([
  ['ToBeDeletedByClusterAutoscaler', 'the cluster autoscaler removes it'],
  ['karpenter.sh/disrupted', 'Karpenter replaces it'],
  ['karpenter.sh/disruption', 'Karpenter replaces it'],
  ['node.kubernetes.io/out-of-service', 'it is out of service'],
  ['node.cloudprovider.kubernetes.io/shutdown', 'it is shut down'],
  ['cloud.google.com/impending-node-termination', 'its machine is taken away'],
])

/** AWS Node Termination Handler has one for each kind of notice. */
const prefixes: readonly (readonly [string, string])[] = [
  ['aws-node-termination-handler/', 'its machine is taken away'],
]

export interface LeavingSigns {
  readonly deleted: boolean
  /** Keys of its taints. */
  readonly taints: Iterable<string>
  /** Message of the condition Ready while that is False. */
  readonly notReady: string | undefined
}

/**
 * Why a node will be gone soon, as the end of "node X is going away: …"; undefined if nothing says so. A node whose
 * kubelet is told to shut down (GracefulNodeShutdown) says it in the message of its condition Ready.
 */
export function leaving({ deleted, taints, notReady }: LeavingSigns): string | undefined {
  if (deleted) return 'it is being deleted'
  for (const key of taints) {
    const why = known.get(key) ?? prefixes.find(([prefix]) => key.startsWith(prefix))?.[1]
    if (why !== undefined) return `${why} (taint ${key})`
  }
  return notReady?.includes('shutting down') ? 'its kubelet shuts it down' : undefined
}
