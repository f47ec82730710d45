import { expect, test } from 'vitest'
import { drained, type DrainOptions } from './drain.ts'

/** A clock that only pauses move, and a daemon whose builds are given for each look. */
function rig(builds: readonly (number | Error)[], more: Partial<DrainOptions> = {}) {
  let time = 0
  let look = 0
  const abort = new AbortController()
  const options: DrainOptions = {
    running: async () => {
      const now = builds[Math.min(look++, builds.length - 1)] as number | Error
      if (now instanceof Error) throw now
      return now
    },
    grace: 60_000,
    settle: 2000,
    signal: abort.signal,
    now: () => time,
    pause: async (milliseconds) => void (time += milliseconds),
    ...more,
  }
  return { ended: () => drained(options), time: () => time, abort }
}

test('a node without builds is drained once nothing more has arrived for a while', async () => {
  const node = rig([0])
  expect(await node.ended()).toBe(0)
  expect(node.time()).toBe(2000)
})

test('a build that was on its way when the drain began is waited for', async () => {
  const node = rig([0, 0, 1, 1, 1, 0])
  expect(await node.ended()).toBe(0)
  expect(node.time()).toBe(2500 + 2000)
})

test('the grace ends the wait and says what was cut off', async () => {
  const node = rig([2], { grace: 10_000 })
  expect(await node.ended()).toBe(2)
  expect(node.time()).toBe(10_000)
})

test('a question that is not answered is no build that has ended', async () => {
  const node = rig([1, new Error('no answer in time'), 1, 0])
  expect(await node.ended()).toBe(0)
  expect(node.time()).toBe(3 * 500 + 2000)
  expect(await rig([2, new Error('no answer in time')], { grace: 10_000 }).ended()).toBe(2)
  const idle = rig([0, 0, new Error('no answer in time'), 0])
  expect(await idle.ended()).toBe(0)
  expect(idle.time()).toBe(3 * 500 + 2000)
})

test('a second signal ends it at once, and so does a daemon that is gone, also while it is asked', async () => {
  const node = rig([3])
  node.abort.abort(new Error('now'))
  expect(await node.ended()).toBe(3)
  let looks = 0
  const gone = rig([], { running: () => (++looks === 1 ? Promise.resolve(2) : new Promise(() => undefined)) })
  const ended = gone.ended()
  await new Promise((resolve) => setImmediate(resolve))
  expect(looks).toBe(2)
  gone.abort.abort(new Error('the daemon ended'))
  expect(await ended).toBe(2)
})

test('a look is given a minute, and no more than what is left of the grace', async () => {
  const given: number[] = []
  const node = rig([], {
    grace: 61_000,
    running: (timeout) => {
      given.push(timeout)
      return Promise.resolve(1)
    },
  })
  await node.ended()
  expect(given.slice(0, 4)).toEqual([60_000, 60_000, 60_000, 59_500])
  expect(given.at(-1)).toBe(5000)
})
