import { InsituError } from '../../../kernel/errors.ts'
import { isNative, summarize } from '../fitness.ts'
import { rank } from '../score.ts'
import type { Rule } from './rule.ts'

/**
 * Rule 5: any node that can build and is not in trouble; native ones first, then the one with the warm cache.
 * @throws InsituError NO_NODE with the count of each reason
 */
export const anywhere: Rule = (input) => {
  const { view, request } = input
  const { candidates, rejected } = input.pools(request.platforms)
  const ranking = rank(candidates, request.cacheKey, view)
  const builder = ranking.first
  if (!builder) {
    const what = request.platforms.length === 0 ? 'can build' : `can build ${request.platforms.join(', ')}`
    throw new InsituError('NO_NODE', summarize(candidates.length + rejected.length, rejected, what), {
      status: 'FAILED_PRECONDITION',
      fix: 'See `insitu nodes` for each node.',
    })
  }
  const facts = view.nodes.get(builder.node)
  const emulated = request.platforms.filter((p) => facts && !isNative(facts, p))
  const [image] = request.images
  const about = input.unable ?? (image === undefined ? 'the build names no image' : `no pod needs ${image} yet`)
  const choice =
    candidates.length === 1
      ? 'it is the only node that can build'
      : `its cache serves this build best among ${candidates.length} nodes`
  const how = emulated.length === 0 ? '' : `; ${emulated.join(', ')} is emulated`
  return {
    placement: { rule: 'anywhere', node: builder.node, targets: [builder.node], reason: `${about}; ${choice}${how}` },
    rejected,
    ranking,
  }
}
