import { InsituError } from '../../kernel/errors.ts'
import { isNative, type Rejection } from './fitness.ts'
import type { Placement, PlacementRule } from './placer.ts'
import { anywhere } from './rules/anywhere.ts'
import type { Rule, RuleInput, Verdict } from './rules/rule.ts'
import { running } from './rules/running.ts'
import { said } from './rules/said.ts'
import { template } from './rules/template.ts'
import { waiting } from './rules/waiting.ts'
import type { Score } from './score.ts'

/** The rules in order: the first that yields a node wins. */
export const rules: readonly (readonly [PlacementRule, Rule])[] = [
  ['said', said],
  ['waiting', waiting],
  ['running', running],
  ['template', template],
  ['anywhere', anywhere],
]

/** A decision with what led to it, as `insitu explain` prints it. */
export interface Decision {
  readonly placement: Placement
  /** Candidates of the winning rule, best first. Worked out when asked for: builds need only the first. */
  scores(): readonly Score[]
  /** Every node that some rule considered and did not take, with its first reason. */
  rejected(): readonly Rejection[]
}

/**
 * Decides where a build goes. Pure: the same view and request give the same answer on every replica.
 * @throws InsituError FAILED_PRECONDITION or NOT_FOUND, see the rules
 */
export function place(input: RuleInput): Decision {
  const verdicts: Verdict[] = []
  let targets: readonly string[] = []
  let unable: string | undefined
  for (const [name, rule] of rules) {
    const verdict = rule({ ...input, unable })
    if (!verdict) continue
    verdicts.push(verdict)
    if (verdict.placement) {
      const placement = sayEmulated(input, withTargets(verdict.placement, targets, unable))
      return {
        placement,
        scores: () => verdict.ranking?.all() ?? [],
        rejected: () => rejectedBy(verdicts, placement.node),
      }
    }
    if (verdict.targets !== undefined && targets.length === 0) {
      targets = verdict.targets
      const [first] = verdict.rejected()
      unable = first ? `node ${first.node}, where ${wanted[name]}, cannot build (${first.reason})` : undefined
    }
  }
  throw new InsituError('NO_NODE', 'no placement rule found a node', { status: 'FAILED_PRECONDITION' })
}

const wanted: Readonly<Record<PlacementRule, string>> = {
  said: 'it should be built',
  waiting: 'a pod waits for it',
  running: 'a pod of it runs',
  template: 'a pod of it may run',
  anywhere: 'it could be built',
}

/** Nodes that an earlier rule found, but that cannot build, are still where the image will run. */
function withTargets(placement: Placement, targets: readonly string[], unable: string | undefined): Placement {
  if (targets.length === 0) return placement
  const prefix = unable === undefined || placement.rule === 'anywhere' ? '' : `${unable}; `
  return { ...placement, targets, reason: prefix + placement.reason }
}

function sayEmulated({ view, request }: RuleInput, placement: Placement): Placement {
  const facts = view.nodes.get(placement.node)
  const agent = view.agents.get(placement.node)
  const emulated = facts ? request.platforms.filter((p) => !isNative(facts, p, agent)) : []
  if (emulated.length === 0) return placement
  return { ...placement, reason: `${placement.reason}; ${emulated.join(', ')} is emulated` }
}

function rejectedBy(verdicts: readonly Verdict[], builder: string): Rejection[] {
  const rejected = new Map<string, Rejection>()
  for (const rejection of verdicts.flatMap((v) => v.rejected())) {
    if (rejection.node !== builder && !rejected.has(rejection.node)) rejected.set(rejection.node, rejection)
  }
  return [...rejected.values()].sort(byNode)
}

const byNode = (a: Rejection, b: Rejection): number => (a.node < b.node ? -1 : 1)
