import { describe, expect, it } from 'vitest'
import type { Build } from '../../api/builds/builds.ts'
import { type Demand, demandKey } from '../../api/builds/on-pull.ts'
import { madeByPulls } from './made.ts'
import { planPulls } from './plan.ts'

const start = Date.parse('2026-01-01T00:00:00Z')
const at = (second: number): string => new Date(start + second * 1000).toISOString()
const [v1, stable] = ['h/app:v1', 'h/app:stable']
const commit = (digit: string): string => digit.repeat(40)
const amd64 = 'linux/amd64'

const demand = (name: string, second = 0, platform = amd64): Demand => ({ name, platform, asked: 'n1', at: at(second) })

/** What is planned for a Build of these names, of which pulls have begun those that are there. */
function plan(names: readonly string[], demands: readonly Demand[], there: readonly Build[] = [], second = 0) {
  const recipe = { source: { git: { url: 'https://h/a.git' } }, output: { names } }
  const annotations = Object.fromEntries(
    demands.map((one) => [demandKey(one.name, one.platform), JSON.stringify(one)] as const),
  )
  const build = {
    metadata: { namespace: 'a', name: 'app', uid: 'u', generation: 1, annotations },
    spec: { ...recipe, trigger: 'OnPull' as const },
  }
  const pulls = { names, serviceAccountName: 'default', pushes: false }
  const made = madeByPulls(there).get('u') ?? []
  const { actions } = planPulls(build, { recipe, pulls, made, now: new Date(start + second * 1000) })
  return {
    begun: actions.flatMap((action) => (action.kind === 'createBuild' ? [action.made] : [])),
    answered: actions.flatMap((action) => (action.kind === 'forget' ? action.annotations : [])).length,
  }
}

/** As it is when it has been made, and when it has ended. */
const stored = (build: Build | undefined, ended?: number): Build[] => {
  if (!build) return []
  const status = ended === undefined ? {} : { phase: 'Succeeded' as const, completionTime: at(ended) }
  return [{ ...build, metadata: { ...build.metadata, uid: 'first', creationTimestamp: at(0) }, status }]
}

describe('a Build of several names', () => {
  it('is built once for all of them that are pulled, and for the platforms of all who ask', () => {
    const { begun } = plan([v1, stable], [demand(stable), demand(v1, 0, 'linux/arm64')])
    expect(begun.map(({ spec }) => [spec.output?.names, spec.platforms])).toEqual([
      [
        [v1, stable],
        [amd64, 'linux/arm64'],
      ],
    ])
  })

  it('is the same one to a controller that sees late what it has made, whatever was asked for meanwhile', () => {
    const name = (...demands: readonly Demand[]) => plan([v1, stable], demands).begun.map((one) => one.metadata?.name)
    expect(name(demand(stable))).toHaveLength(1)
    expect(name(demand(v1), demand(stable))).toEqual(name(demand(stable)))
  })

  it('that is built or was built since answers for all of them', () => {
    const [first] = plan([v1, stable], [demand(stable)]).begun
    expect(plan([v1, stable], [demand(v1, 5)], stored(first), 6)).toEqual({ begun: [], answered: 1 })
    expect(plan([v1, stable], [demand(v1, 5)], stored(first, 10), 11)).toEqual({ begun: [], answered: 1 })
    const { begun } = plan([v1, stable], [demand(v1, 100)], stored(first, 10), 101)
    expect(begun.map(({ metadata }) => metadata?.name)).not.toEqual([first?.metadata?.name])
    expect(begun).toHaveLength(1)
  })

  it('of which one is new is built for that when what goes on has ended', () => {
    const [first] = plan([v1], [demand(v1)]).begun
    expect(plan([v1, stable], [demand(stable, 5)], stored(first), 6)).toEqual({ begun: [], answered: 0 })
    const { begun } = plan([v1, stable], [demand(stable, 5)], stored(first, 10), 11)
    expect(begun.map(({ spec }) => spec.output?.names)).toEqual([[v1, stable]])
  })

  it('is built once for each revision', () => {
    const names = ['h/app:v-${REVISION}', 'h/app:git-${REVISION}']
    const of = (digit: string) => names.map((name) => demand(name.replace('${REVISION}', commit(digit))))
    const { begun } = plan(names, [...of('a'), ...of('b')])
    expect(begun.map(({ spec }) => spec.source?.git?.revision)).toEqual([commit('a'), commit('b')])
  })
})
