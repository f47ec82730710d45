import { InsituError } from '../../../kernel/errors.ts'
import type { Subject, WorkloadFacts } from '../cluster.ts'
import { summarize, unwelcoming, type Rejection } from '../fitness.ts'
import type { NodeSlot } from '../facts.ts'
import { best, hasRoom, nodesOf, none, unable, type Rule, type RuleInput, type Verdict } from './rule.ts'
import { fitOf, refusal, takes, type Fit } from './template.ts'

/**
 * Rule 1: the user says where. What is said is done or refused, never silently replaced.
 * @throws InsituError UNKNOWN_NODE, NODE_CANNOT_BUILD, NO_NODE
 */
export const said: Rule = (input) => {
  const { request, subject } = input
  if (request.node !== undefined) return saidNode(input, request.node)
  if (subject === undefined) return undefined
  if (subject.pods.length > 0) return whereItRuns(input, subject)
  if (subject.workload) return whereItMayRun(input, subject, subject.workload)
  throw new InsituError('NO_NODE', `insitu.for=${request.workload}: ${subject.label} is not on a node yet`, {
    status: 'FAILED_PRECONDITION',
    fix: 'Wait until it is scheduled, or leave insitu.for out.',
  })
}

function saidNode(input: RuleInput, node: string): Verdict {
  const { view } = input
  if (!view.nodes.has(node)) {
    const known = [...view.agents.keys()].sort()
    throw new InsituError('UNKNOWN_NODE', `insitu.node=${node}: there is no node ${node}`, {
      status: 'NOT_FOUND',
      fix:
        known.length === 0 ? 'No node has an agent yet: see `insitu status`.' : `Nodes with an agent: ${list(known)}.`,
    })
  }
  const [rejection] = unable(input, [node])
  if (rejection) {
    throw new InsituError('NODE_CANNOT_BUILD', `insitu.node=${node}: ${explain(rejection)}`, {
      status: 'FAILED_PRECONDITION',
      fix: 'Choose another node, or see `insitu doctor` for what is wrong with this one.',
    })
  }
  return { placement: { rule: 'said', node, targets: [node], reason: 'asked for by insitu.node' }, rejected: none }
}

function whereItRuns(input: RuleInput, { label, pods }: Subject): Verdict {
  const slots = new Set(pods.flatMap((p) => p.slot ?? []))
  const targets = nodesOf(slots)
  const rejected = () => unable(input, targets)
  const able = [...slots].filter((slot) => input.pool.can(slot))
  const first = able.find((slot) => hasRoom(input, slot)) ?? able[0]
  if (first === undefined) throw nowhere(input, rejected())
  const rest = targets.length === 1 ? '' : `, and on ${targets.length - 1} more`
  const reason = `${label} runs there${rest} (insitu.for)`
  return { placement: { rule: 'said', node: first.name, targets, reason }, rejected }
}

function whereItMayRun(input: RuleInput, { label }: Subject, workload: WorkloadFacts): Verdict {
  const { view, pool } = input
  const fit = fitOf(view, workload)
  const rejected = () => rejections(input, fit)
  const find = (admits: (slot: NodeSlot) => boolean) =>
    best(input, {
      candidates: view.table.slots,
      size: Math.min(fit.mask.count, pool.size),
      fits: (slot) => pool.can(slot) && fit.mask.has(slot),
      accepts: admits,
      // Cordoned nodes only if there is no other.
      prefers: (slot) => Number(pool.welcomes(slot)),
    })
  const ranking = find((slot) => takes(fit, slot))
  const { first } = ranking
  if (first === undefined) throw nowhere(input, rejected())
  const others = workload.everyNode
    ? nodesOf(view.table.slots.filter((s) => s !== undefined && s !== first && takes(fit, s)) as NodeSlot[])
    : []
  const reason = `${label} has no pods on nodes yet and may run there (insitu.for)`
  return { placement: { rule: 'said', node: first.name, targets: [first.name, ...others], reason }, rejected, ranking }
}

function rejections(input: RuleInput, fit: Fit): Rejection[] {
  return input.view.table.slots.flatMap((slot) => {
    if (!slot?.facts) return []
    const reason = refusal(fit, slot)
    if (reason !== undefined) return { node: slot.name, reason }
    return unable(input, [slot.name])[0] ?? unwelcoming(slot.facts) ?? []
  })
}

function nowhere({ request }: RuleInput, rejected: readonly Rejection[]): InsituError {
  return new InsituError('NO_NODE', `insitu.for=${request.workload}: ${summarize(rejected.length, rejected)}`, {
    status: 'FAILED_PRECONDITION',
    fix: 'See `insitu explain --for` for each node.',
  })
}

function explain(rejection: Rejection): string {
  const { node, reason, detail } = rejection
  switch (reason) {
    case 'no agent':
      return `no agent runs on node ${node}`
    case 'agent not ready':
      return `the agent of node ${node} ${detail ?? 'is not ready'}`
    default:
      return (
        `node ${node} is ${reason.endsWith('Pressure') ? 'under ' : ''}${reason}`.replace(' is cannot ', ' cannot ') +
        (detail === undefined ? '' : ` (${detail})`)
      )
  }
}

const list = (names: readonly string[]): string =>
  names.length <= 20 ? names.join(', ') : `${names.slice(0, 20).join(', ')} and ${names.length - 20} more`
