import type { Lookups } from '../lookups.ts'

/**
 * What there is of a name now. A `FROM` waits for no build: the one that is under way may be its own, of the same name.
 * And it begins none.
 */
export const finished = (lookups: Lookups): Lookups => ({
  ...lookups,
  async ask(wanted) {
    const found = await lookups.ask('name' in wanted ? { ...wanted, finished: '1' } : wanted)
    return found.state === 'here' || found.state === 'unreachable' ? found : { state: 'none' }
  },
})
