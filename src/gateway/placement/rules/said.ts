import { InsituError } from '../../../kernel/errors.ts'
import { summarize, type Rejection } from '../fitness.ts'
import { refusesPod } from '../scheduling.ts'
import { able, best, type Rule, type RuleInput, type Verdict } from './rule.ts'

/**
 * Rule 1: the user says where. What is said is done or refused, never silently replaced.
 * @throws InsituError UNKNOWN_NODE, NODE_CANNOT_BUILD, NO_NODE
 */
export const said: Rule = (input) => {
  if (input.request.node !== undefined) return saidNode(input, input.request.node)
  if (input.subject !== undefined) return saidWorkload(input)
  return undefined
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
  const [rejection] = able(input, [node]).rejected
  if (rejection) {
    throw new InsituError('NODE_CANNOT_BUILD', `insitu.node=${node}: ${explain(rejection)}`, {
      status: 'FAILED_PRECONDITION',
      fix: 'Choose another node, or see `insitu doctor` for what is wrong with this one.',
    })
  }
  return { placement: { rule: 'said', node, targets: [node], reason: 'asked for by insitu.node' }, rejected: [] }
}

function saidWorkload(input: RuleInput): Verdict {
  const { view, subject, request } = input
  if (!subject) return { rejected: [] }
  const option = `insitu.for=${request.workload}`
  const onNodes = [...new Set(subject.pods.map((p) => p.node ?? ''))]
  const { workload } = subject
  if (onNodes.length === 0 && !workload) {
    throw new InsituError('NO_NODE', `${option}: ${subject.label} is not on a node yet`, {
      status: 'FAILED_PRECONDITION',
      fix: 'Wait until it is scheduled, or leave insitu.for out.',
    })
  }
  const refused: Rejection[] = []
  const candidates =
    onNodes.length > 0
      ? onNodes
      : [...view.nodes.values()].flatMap((node) => {
          const reason = workload && refusesPod(node, workload.constraints)
          if (reason === undefined) return [node.name]
          refused.push({ node: node.name, reason })
          return []
        })
  const { nodes, rejected } = able(input, candidates)
  const [first, ...others] =
    onNodes.length > 0
      ? nodes
      : best(input, nodes)
          .all()
          .map((s) => s.node)
  if (first === undefined) {
    const all = [...refused, ...rejected]
    throw new InsituError('NO_NODE', `${option}: ${summarize(all.length, all)}`, {
      status: 'FAILED_PRECONDITION',
      fix: 'See `insitu nodes` for what is wrong with them.',
    })
  }
  if (onNodes.length === 0) {
    const targets = workload?.everyNode ? [first, ...others] : [first]
    const reason = `${subject.label} has no pods on nodes yet and may run there (insitu.for)`
    return { placement: { rule: 'said', node: first, targets, reason }, rejected: [...refused, ...rejected] }
  }
  const rest = onNodes.length === 1 ? '' : `, and on ${onNodes.length - 1} more`
  const reason = `${subject.label} runs there${rest} (insitu.for)`
  return { placement: { rule: 'said', node: first, targets: onNodes, reason }, rejected }
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
        `node ${node} is ${reason}`.replace(' is cannot ', ' cannot ') + (detail === undefined ? '' : ` (${detail})`)
      )
  }
}

const list = (names: readonly string[]): string =>
  names.length <= 20 ? names.join(', ') : `${names.slice(0, 20).join(', ')} and ${names.length - 20} more`
