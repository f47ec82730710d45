import { setTimeout as sleep } from 'node:timers/promises'
import type { Gateways } from '../gateways.ts'
import type { Lookups } from '../lookups.ts'

/** Milliseconds: an agent that has just started connects to the gateways within a moment, and a build is not tried again. */
const connecting = 1000
const pause = 50

/**
 * What there is of a name now. A `FROM` waits for no build: the one that is under way may be its own, of the same name.
 * And it begins none.
 */
export const finished = (lookups: Lookups, gateways: Pick<Gateways, 'connected'>): Lookups => ({
  ...lookups,
  async ask(wanted) {
    for (let left = connecting; gateways.connected().length === 0 && left > 0; left -= pause) await sleep(pause)
    const found = await lookups.ask('name' in wanted ? { ...wanted, finished: '1' } : wanted)
    return found.state === 'here' || found.state === 'unreachable' ? found : { state: 'none' }
  },
})
