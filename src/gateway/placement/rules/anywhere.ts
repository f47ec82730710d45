import { InsituError } from '../../../kernel/errors.ts'
import { isNative, summarize, unwelcoming, type Rejection } from '../fitness.ts'
import { able, best, type Rule } from './rule.ts'

/**
 * Rule 5: any node that can build and is not in trouble; native ones first, then the one with the warm cache.
 * @throws InsituError NO_NODE with the count of each reason
 */
export const anywhere: Rule = (input) => {
  const { view, request } = input
  const names = [...new Set([...view.nodes.keys(), ...view.agents.keys()])]
  const built = able(input, names)
  const rejected: Rejection[] = [...built.rejected]
  const nodes = built.nodes.filter((name) => {
    const facts = view.nodes.get(name)
    const rejection = facts && unwelcoming(facts)
    if (rejection) rejected.push(rejection)
    return !rejection
  })
  const scores = best(input, nodes)
  const [builder] = scores
  if (!builder) {
    const what = request.platforms.length === 0 ? 'can build' : `can build ${request.platforms.join(', ')}`
    throw new InsituError('NO_NODE', summarize(names.length, rejected, what), {
      status: 'FAILED_PRECONDITION',
      fix: 'See `insitu nodes` for each node.',
    })
  }
  const facts = view.nodes.get(builder.node)
  const emulated = request.platforms.filter((p) => facts && !isNative(facts, p))
  const [image] = request.images
  const about = input.unable ?? (image === undefined ? 'the build names no image' : `no pod needs ${image} yet`)
  const choice =
    nodes.length === 1
      ? 'it is the only node that can build'
      : `its cache serves this build best among ${nodes.length} nodes`
  const how = emulated.length === 0 ? '' : `; ${emulated.join(', ')} is emulated`
  return {
    placement: { rule: 'anywhere', node: builder.node, targets: [builder.node], reason: `${about}; ${choice}${how}` },
    rejected,
    scores,
  }
}
