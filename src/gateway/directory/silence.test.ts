import { expect, test } from 'vitest'
import type { Agent } from './agent.ts'
import { createSilence } from './silence.ts'

const agent = { uid: 'u1', node: 'n1' } as Agent

function watched(ask: (agent: Agent) => Promise<unknown>) {
  const changes: boolean[] = []
  let asked = 0
  const silence = createSilence({
    ask: (one) => {
      asked += 1
      return ask(one)
    },
    onChange: (one) => void changes.push(silence.has(one)),
    interval: 1,
  })
  return { silence, changes, asked: () => asked }
}

test('an agent that could not be reached is silent until it answers, and both are told once', async () => {
  let answers = false
  const { silence, changes, asked } = watched(() =>
    answers ? Promise.resolve() : Promise.reject(new Error('no route')),
  )
  silence.noticed(agent)
  silence.noticed(agent)
  expect(changes).toEqual([true])
  await expect.poll(asked).toBeGreaterThan(3)
  expect(silence.has(agent)).toBe(true)
  answers = true
  await expect.poll(() => changes).toEqual([true, false])
  const before = asked()
  silence.noticed(agent)
  await expect.poll(() => changes).toEqual([true, false, true, false])
  expect(asked()).toBe(before + 1)
})

test('an agent that is gone is asked no more, nor is anybody when the gateway stops', async () => {
  const question = Promise.withResolvers<void>()
  const { silence, changes, asked } = watched(() => question.promise)
  silence.noticed(agent)
  silence.noticed({ ...agent, uid: 'u2' })
  await expect.poll(asked).toBe(2)
  silence.forget(agent)
  silence.stop()
  question.resolve()
  await question.promise
  await Promise.resolve()
  expect(silence.has(agent)).toBe(false)
  // What they answer now changes nothing.
  expect(changes).toEqual([true, true])
})
