import type { PolicySource } from './source.ts'

/** Counts refusals, and shows them and the state of the policy on /metrics. */
export interface PolicyMetrics {
  readonly onRefusal: (rule: string) => void
  /** @param waiting builds that wait for their turn, by node. */
  text(source: Pick<PolicySource, 'problem' | 'loadedAt' | 'rejected'>, waiting: ReadonlyMap<string, number>): string
}

/** Rules hold names of tenants, which come from a file: there are not many, but there is a limit. */
const most = 1000

export function createPolicyMetrics(): PolicyMetrics {
  const refusals = new Map<string, number>()
  return {
    onRefusal(rule) {
      if (refusals.has(rule) || refusals.size < most) refusals.set(rule, (refusals.get(rule) ?? 0) + 1)
    },
    text: (source, waiting) =>
      [
        '# HELP insitu_policy_in_force Whether the policy file as it is now is in force.',
        '# TYPE insitu_policy_in_force gauge',
        `insitu_policy_in_force ${source.problem() === undefined ? 1 : 0}`,
        '# HELP insitu_policy_loaded_timestamp_seconds When the policy in force was read.',
        '# TYPE insitu_policy_loaded_timestamp_seconds gauge',
        `insitu_policy_loaded_timestamp_seconds ${Math.floor(source.loadedAt.getTime() / 1000)}`,
        '# HELP insitu_policy_rejected_total Changes of the policy file that were not taken over.',
        '# TYPE insitu_policy_rejected_total counter',
        `insitu_policy_rejected_total ${source.rejected}`,
        '# HELP insitu_refusals_total Calls that the policy refused, by rule.',
        '# TYPE insitu_refusals_total counter',
        ...[...refusals].map(([rule, count]) => `insitu_refusals_total{rule="${escape(rule)}"} ${count}`),
        '# HELP insitu_queue_builds Builds that wait for their turn, by node.',
        '# TYPE insitu_queue_builds gauge',
        ...[...waiting].map(([node, builds]) => `insitu_queue_builds{node="${escape(node)}"} ${builds}`),
        '',
      ].join('\n'),
  }
}

const escape = (text: string): string => text.replace(/[\\"]/g, '\\$&').replaceAll('\n', '\\n')
