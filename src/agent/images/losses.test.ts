import { expect, it } from 'vitest'
import { createLogger } from '../../kernel/log.ts'
import { createLosses } from './losses.ts'
import type { ImageRecord } from './record.ts'

const record = { name: 'docker.io/library/app:1', digest: 'sha256:a' } as ImageRecord

function losses(pull: () => Promise<void>) {
  const state = { now: 1000, lost: 'sha256:layer' as string | undefined, pulls: 0 }
  const made = createLosses({
    records: () => [record],
    missing: () => Promise.resolve(state.lost),
    survey: () => Promise.resolve(() => Promise.resolve(state.lost)),
    pull: () => {
      state.pulls += 1
      return pull()
    },
    log: createLogger({ level: 'silent' }),
    now: () => state.now,
  })
  return { made, state }
}

it.each([
  ['fails', () => Promise.reject(new Error('not found'))],
  ['brings nothing', () => Promise.resolve()],
])('what no node has is pulled ever more rarely: a pull that %s', async (_, pull) => {
  const { made, state } = losses(pull)
  // A collection every ten seconds for a day, each of which calls for a look.
  for (let second = 0; second < 86_400; second += 10) {
    await made.look()
    state.now += 10_000
  }
  expect(state.pulls).toBeGreaterThan(20)
  expect(state.pulls).toBeLessThan(60)
})

it('what is lost again after it came back is pulled at once', async () => {
  const { made, state } = losses(() => Promise.resolve(void (state.lost = undefined)))
  for (let i = 1; i <= 3; i++) {
    state.lost = `sha256:${i}`
    await made.look()
    expect(state.pulls).toBe(i)
  }
})

it('what came back since the lists were made is not pulled', async () => {
  const pulls: string[] = []
  const made = createLosses({
    records: () => [record],
    missing: () => Promise.resolve(undefined),
    survey: () => Promise.resolve(() => Promise.resolve('sha256:layer')),
    pull: ({ name }) => Promise.resolve(void pulls.push(name)),
    log: createLogger({ level: 'silent' }),
  })
  await made.look()
  expect(pulls).toEqual([])
})

it('a node that cannot be asked is asked again with the next look', async () => {
  const answers = [() => Promise.reject(new Error('containerd is away')), () => Promise.resolve('sha256:layer')]
  let pulls = 0
  const made = createLosses({
    records: () => [record],
    missing: () => Promise.resolve('sha256:layer'),
    survey: async () => {
      const answer = await answers.shift()?.()
      return () => Promise.resolve(answer)
    },
    pull: () => Promise.resolve(void (pulls += 1)),
    log: createLogger({ level: 'silent' }),
  })
  await made.look()
  expect(pulls).toBe(0)
  await made.look()
  expect(pulls).toBe(1)
})
