import { InsituError } from '../../kernel/errors.ts'
import { warningFix } from './explain.ts'
import type { Installation, RolePod } from './installation.ts'
import type { Workload } from './objects.ts'

export interface Progress {
  readonly done: boolean
  /** One line: `gateways 1/2, agents 3/5, controllers 2/2 ready`. */
  readonly summary: string
  /** What is waited for, one line each. */
  readonly waiting: readonly string[]
  readonly fix: string | undefined
}

/** Compares what the workloads should be with what they are. */
export function progressOf(installation: Installation): Progress {
  const { deployment, builder, gateways, agents, controllers } = installation
  const sets = [installation.daemonSet, installation.rootless].filter((set) => set !== undefined)
  const front = replicasOf(deployment)
  const back = replicasOf(builder)
  const sum = (count: (set: (typeof sets)[number]) => number | undefined): number =>
    sets.reduce((all, set) => all + (count(set) ?? 0), 0)
  const nodes = sum((set) => set.status?.desiredNumberScheduled)
  const readyAgents = sum((set) => (seen(set) ? set.status?.numberReady : 0))
  const current = sets.every(seen) && sum((set) => set.status?.updatedNumberScheduled) === nodes
  const agentsDone = current && readyAgents >= nodes
  const done = front.done && back.done && agentsDone
  const problems = [...gateways, ...agents, ...controllers].filter((pod) => pod.problem !== undefined)
  const warnings = problems.length === 0 && !done ? installation.warnings : []
  return {
    done: deployment !== undefined && builder !== undefined && sets.length > 0 && done,
    summary: `gateways ${front.text}, agents ${readyAgents}/${nodes}, controllers ${back.text} ready`,
    waiting: [...group(problems), ...warnings],
    fix: problems.find((pod) => pod.problem?.fix)?.problem?.fix ?? warningFix(warnings),
  }
}

const seen = (w: Workload | undefined): boolean => w?.status?.observedGeneration === w?.metadata?.generation

function replicasOf(deployment: Workload | undefined): { readonly done: boolean; readonly text: string } {
  const wanted = deployment?.spec?.replicas ?? 0
  const available = seen(deployment) ? (deployment?.status?.availableReplicas ?? 0) : 0
  const updated = deployment?.status?.updatedReplicas ?? 0
  return {
    done: seen(deployment) && available >= wanted && updated === wanted,
    text: `${Math.min(available, wanted)}/${wanted}`,
  }
}

/** Pods that wait for the same thing share a line: a cluster has thousands of nodes. */
function group(pods: readonly RolePod[]): string[] {
  const byReason = new Map<string, string[]>()
  for (const pod of pods) {
    const reason = pod.problem?.text ?? ''
    byReason.set(reason, [...(byReason.get(reason) ?? []), pod.node ? `${pod.name} on ${pod.node}` : pod.name])
  }
  return [...byReason].map(([reason, names]) => {
    const shown = names.slice(0, 2).join(', ')
    return `${shown}${names.length > 2 ? ` and ${names.length - 2} more` : ''}: ${reason}`
  })
}

export interface WaitOptions {
  readonly read: () => Promise<Installation>
  readonly say: (line: string) => void
  /** Milliseconds. */
  readonly timeout: number
  readonly pause: (milliseconds: number) => Promise<unknown>
  readonly now?: () => number
}

/**
 * Waits until everything is ready, and says what it waits for whenever that changes.
 * @throws InsituError NOT_READY with what was missing at the end.
 */
export async function waitUntilReady(options: WaitOptions): Promise<Installation> {
  const now = options.now ?? Date.now
  const end = now() + options.timeout
  let said = ''
  for (;;) {
    const installation = await options.read()
    const progress = progressOf(installation)
    if (progress.done) return installation
    const text = [progress.summary, ...progress.waiting.map((line) => `  ${line}`)].join('\n')
    if (text !== said) options.say(text)
    said = text
    if (now() >= end) {
      throw new InsituError(
        'NOT_READY',
        `not ready after ${Math.round(options.timeout / 1000)} s: ${[progress.summary, ...progress.waiting].join('\n  ')}`,
        {
          status: 'DEADLINE_EXCEEDED',
          fix: progress.fix ?? 'Look again with `insitu status`, or wait longer with --timeout.',
        },
      )
    }
    await options.pause(1000)
  }
}
