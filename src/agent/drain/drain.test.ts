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

test('a second signal ends it at once, and so does a daemon that is gone', async () => {
  const node = rig([3])
  node.abort.abort(new Error('now'))
  expect(await node.ended()).toBe(3)
  expect(await rig([1, new Error('no daemon')]).ended()).toBe(0)
})
