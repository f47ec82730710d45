import type { Directory } from '../gateway/directory/directory.ts'
import type { GatewayOptions } from '../gateway/gateway.ts'
import { createAdmission } from '../gateway/policy/enforce.ts'
import { decideName, decideNode, type Decision } from '../gateway/policy/decide.ts'
import { tenantOf } from '../gateway/policy/match.ts'
import { createPolicyMetrics } from '../gateway/policy/metrics.ts'
import type { ProtectedNames } from '../gateway/policy/protected.ts'
import { policyFromFile } from '../gateway/policy/source.ts'
import type { TurnWish } from '../gateway/directory/agent-turn.ts'
import { createQueue } from '../gateway/queue/queue.ts'
import type { Logger } from '../kernel/log.ts'

/** Where the ConfigMap of the policy is mounted in a cluster. */
export const mountedPolicy = '/etc/insitu-policy/policy.toml'

export interface PolicyParts extends Required<Pick<GatewayOptions, 'admission' | 'turns'>> {
  /** Why a service account may not give an image this name; undefined when it may. */
  refusesName(namespace: string, serviceAccount: string, name: string): string | undefined
  /** Why it may not build on a node. */
  refusesNode(namespace: string, serviceAccount: string, node: string): string | undefined
  /** Why the policy file as it is now is not in force. */
  problem(): string | undefined
  /** Text for /metrics. */
  metrics(): string
  close(): void
}

/**
 * What a gateway that has a policy is made of.
 * @throws InsituError when the file is there and is wrong.
 */
export async function policyParts(options: {
  readonly file: string
  readonly directory: Directory
  readonly protectedNames?: ProtectedNames | undefined
  /** Why a node will be gone soon, as Kubernetes says. */
  readonly leaving?: ((node: string) => string | undefined) | undefined
  /** Asks the agent of a node for a turn; absent: each gateway counts for itself. */
  readonly holdTurn?: ((node: string, wish: TurnWish) => Promise<() => void>) | undefined
  readonly logger: Logger
}): Promise<PolicyParts> {
  const { file, directory, protectedNames, leaving, holdTurn, logger } = options
  const source = await policyFromFile({ file, logger })
  const counters = createPolicyMetrics()
  // One whose agent is being stopped is none: the sessions of who waits are at its daemon, and it ends when they are done.
  const trouble = (name: string): string | undefined => {
    if (!directory.node(name)) return 'is gone'
    const why = leaving?.(name)
    return why && `is going away: ${why}`
  }
  const queue = createQueue({
    perNode: () => source.current().buildsPerNode,
    tenant(caller) {
      const tenant = tenantOf(source.current(), caller)
      return { name: tenant?.name ?? '', weight: tenant?.rights.weight ?? 1, builds: tenant?.rights.builds ?? 0 }
    },
    trouble,
    shared: holdTurn && { hold: holdTurn, logger },
  })
  const { onRefusal } = counters
  const refusalOf = (decision: Decision | undefined): string | undefined =>
    decision?.allowed === false ? `${decision.why} (rule: ${decision.rule})` : undefined
  return {
    admission: createAdmission({ policy: () => source.current(), protectedNames, logger, onRefusal }),
    turns: queue,
    refusesName(namespace, serviceAccount, name) {
      const caller = { kind: 'service-account', namespace, serviceAccount } as const
      return refusalOf(decideName(source.current(), caller, name))
    },
    refusesNode(namespace, serviceAccount, node) {
      const tenant = tenantOf(source.current(), { kind: 'service-account', namespace, serviceAccount })
      return tenant && refusalOf(decideNode(tenant, node))
    },
    problem: () => source.problem(),
    metrics: () => counters.text(source, queue.waiting()),
    close: () => source.close(),
  }
}
