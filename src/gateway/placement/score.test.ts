import { expect, test } from 'vitest'
import { createRandom } from '../../../test/random.ts'
import { createNodeTable } from './model/nodes.ts'
import type { Pool } from './pool.ts'
import { rank } from './score.ts'

test('the short way to the first of thousands of nodes finds the one that the long way puts first', () => {
  const r = createRandom(7)
  for (let round = 0; round < 300; round++) {
    const table = createNodeTable()
    const names = Array.from({ length: 1 + r.int(30) }, (_, i) => `node-${round}-${i}`)
    const slots = names.map((name) => table.slot(name))
    const natives = names.map(() => r.int(3))
    const fitting = names.map(() => r.chance(0.7))
    const accepted = names.map(() => r.chance(0.6))
    const most = r.chance(0.3) ? 40 : 6
    const busy = new Map(names.filter(() => r.chance(0.8)).map((name) => [name, r.int(most)]))
    const pool: Pick<Pool, 'native' | 'ranks'> = {
      native: (slot) => natives[slot.index] as number,
      ranks: () =>
        [2, 1, 0].map((wanted) => {
          const same = slots.filter((slot) => natives[slot.index] === wanted)
          return {
            indexes: Int32Array.from(same, (slot) => slot.index),
            hashes: Uint32Array.from(same, (slot) => slot.hash),
          }
        }),
    }
    const field = {
      size: names.length,
      fits: (slot: { index: number }) => fitting[slot.index] as boolean,
      accepts: (slot: { index: number }) => accepted[slot.index] as boolean,
    }
    const build = { cacheKey: `key-${round}`, ...(r.chance(0.5) ? { perNode: 1 + r.int(5) } : {}) }
    const short = rank({ busy, table }, pool, build, { ...field, candidates: 'welcoming' })
    const long = rank({ busy, table }, pool, build, { ...field, candidates: slots })
    const first = long.all()[0]?.node
    expect(short.first?.name).toBe(first)
    expect(long.first?.name).toBe(first)
    expect(short.all()).toEqual(long.all())
  }
})
