import { InsituError } from '../../../kernel/errors.ts'
import { cannotBuild, summarize, unwelcoming, type Rejection } from '../fitness.ts'
import { best, type Rule, type RuleInput } from './rule.ts'

/**
 * Rule 5: any node that can build and is not in trouble; native ones first, then the one with the warm cache.
 * @throws InsituError NO_NODE with the count of each reason
 */
export const anywhere: Rule = (input) => {
  const { request, pool } = input
  const ranking = best(input, { candidates: 'welcoming', size: pool.size, fits: pool.welcomes })
  const builder = ranking.first
  if (!builder) {
    const what = request.platforms.length === 0 ? 'can build' : `can build ${request.platforms.join(', ')}`
    const rejected = rejections(input)
    throw new InsituError('NO_NODE', summarize(rejected.length, rejected, what), {
      status: 'FAILED_PRECONDITION',
      fix: 'See `insitu nodes` for each node.',
    })
  }
  const [image] = request.images
  const about = input.unable ?? (image === undefined ? 'the build names no image' : `no pod needs ${image} yet`)
  const choice =
    pool.size === 1 ? 'it is the only node that can build' : `its cache serves this build best among ${pool.size} nodes`
  return {
    placement: { rule: 'anywhere', node: builder.name, targets: [builder.name], reason: `${about}; ${choice}` },
    rejected: () => rejections(input),
    ranking,
  }
}

function rejections({ view, request }: RuleInput): Rejection[] {
  return [...new Set([...view.nodes.keys(), ...view.agents.keys()])].flatMap((name) => {
    const node = view.nodes.get(name)
    return cannotBuild(view, name, request.platforms, request) ?? (node && unwelcoming(node)) ?? []
  })
}
