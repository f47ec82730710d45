import { expect, it } from 'vitest'
import { createLogger } from '../../kernel/log.ts'
import { createPullBacks } from './pull-backs.ts'
import type { ImageRecord } from './record.ts'

const record = { name: 'docker.io/library/app:1', digest: 'sha256:a' } as ImageRecord
const log = createLogger({ level: 'silent' })
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

it('a wanted image that no node gives is pulled ever more rarely, however often its loss is noticed', async () => {
  const clock = { now: 1000 }
  let pulls = 0
  let announced = 0
  const pull = (): Promise<void> => Promise.reject(new Error(`not found, ${(pulls += 1)}`))
  const backs = createPullBacks({ pull, log, now: () => clock.now })
  // Each put-back of the name brings an event, and each event the next look.
  for (let second = 0; second < 86_400; second += 10) {
    backs.begin(record, () => (announced += 1))
    await settled()
    clock.now += 10_000
  }
  expect(pulls).toBeGreaterThan(20)
  expect(pulls).toBeLessThan(60)
  expect(announced).toBe(pulls)
})

it('one pull of a name at a time, and what came back is pulled at once when it is lost again', async () => {
  let pulls = 0
  let done: () => void = () => undefined
  const pull = (): Promise<void> => ((pulls += 1), new Promise((resolve) => (done = resolve)))
  const backs = createPullBacks({ pull, log, now: () => 0 })
  backs.begin(record, () => undefined)
  backs.begin(record, () => undefined)
  expect(pulls).toBe(1)
  done()
  await settled()
  backs.begin(record, () => undefined)
  expect(pulls).toBe(2)
})
