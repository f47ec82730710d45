import { expect, test } from 'vitest'
import { isStopped, lostPulse } from './pulse.ts'

const pulse = (answers: readonly boolean[], stopped = false) => {
  let asked = 0
  const end = new AbortController()
  const result = lostPulse({
    ask: async () => {
      const answer = answers[asked++]
      if (answer === undefined) end.abort(new Error('the test is over'))
      if (answer === false) throw new Error('no answer')
    },
    stopped: async () => stopped,
    interval: 1,
    patience: 3,
    signal: end.signal,
    pause: async () => undefined,
  })
  return { result, asked: () => asked }
}

test('a daemon that answers now and then is busy, not hung', async () => {
  expect(await pulse([true, false, false, true, false, false, true]).result).toBeUndefined()
})

test('three questions in a row without an answer', async () => {
  expect(await pulse([true, false, false, false]).result).toBe('buildkitd has left 3 questions in a row unanswered')
})

test('a stopped process is not asked twice', async () => {
  const { result, asked } = pulse([false], true)
  expect(await result).toBe('buildkitd is stopped and answers nothing')
  expect(asked()).toBe(1)
})

test('the state of a process is read past any name', async () => {
  expect(await isStopped(process.pid)).toBe(false)
  expect(await isStopped(2 ** 30)).toBe(false)
})
