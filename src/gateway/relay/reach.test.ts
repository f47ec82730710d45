import { describe, expect, it } from 'vitest'
import { InsituError } from '../../kernel/errors.ts'
import type { Call, RelayContext } from './context.ts'
import { placedWhenBack } from './reach.ts'

const away = { name: 'n1', ready: false, report: { state: 'draining' } }

/** What `placedWhenBack` reads of a gateway whose only node is being stopped. */
function stopped(leaving: string | undefined, directory: object = { nodes: () => [away] }) {
  const context = { directory, placer: { leaving: () => leaving } } as unknown as RelayContext
  const call = { signal: new AbortController().signal } as Call
  let tries = 0
  const place = (): Promise<string> =>
    ++tries < 3 ? Promise.reject(new InsituError('NO_NODE', 'n1 is being stopped')) : Promise.resolve('n1')
  return { placed: placedWhenBack(context, call, place), tries: () => tries }
}

describe('a build whose only node is being stopped', () => {
  it('waits for the next agent there', async () => {
    const { placed, tries } = stopped(undefined)
    expect(await placed).toBe('n1')
    expect(tries()).toBe(3)
  })

  it('waits between two pods of its agent, when there is none', async () => {
    const { placed } = stopped(undefined, { nodes: () => [], lately: () => ['n1'] })
    expect(await placed).toBe('n1')
    const never = stopped(undefined, { nodes: () => [] })
    await expect(never.placed).rejects.toThrow('n1 is being stopped')
  })

  it('does not wait when the node goes away with it', async () => {
    const { placed, tries } = stopped('its kubelet shuts it down')
    await expect(placed).rejects.toThrow('n1 is being stopped')
    expect(tries()).toBe(1)
  })
})
