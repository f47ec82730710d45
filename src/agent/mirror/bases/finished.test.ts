import { expect, test } from 'vitest'
import type { Joined, Wanted } from '../lookups.ts'
import { finished } from './finished.ts'

const image = { name: 'docker.io/team/base:v1', digest: `sha256:${'a'.repeat(64)}`, version: 1 }

const answering = (answer: Joined, connected: () => readonly string[] = () => ['one']) => {
  const asked: Wanted[] = []
  const lookups = {
    ask: (wanted: Wanted) => Promise.resolve((asked.push(wanted), answer)),
    change: () => Promise.reject(new Error('a build is not waited for')),
    demand: () => Promise.reject(new Error('none is begun')),
  }
  const inFront = finished(lookups, { connected })
  return { asked, ask: (wanted: Wanted) => inFront.ask(wanted) }
}

test('a name is asked for as it is, whatever is being built', async () => {
  const here: Joined = { state: 'here', image, peers: [] }
  const { ask, asked } = answering(here)
  expect(await ask({ name: image.name })).toEqual(here)
  expect(asked).toEqual([{ name: image.name, finished: '1' }])
})

test.each<Joined>([
  { state: 'building', by: ['one'] },
  { state: 'failed', reason: 'RUN failed' },
  { state: 'onPull', ask: 'one' },
  { state: 'none' },
])('$state is none', async (answer) => {
  expect(await answering(answer).ask({ name: image.name })).toEqual({ state: 'none' })
})

test('an agent that has just started waits for a gateway, for a moment', async () => {
  let looks = 0
  const { ask } = answering({ state: 'none' }, () => (++looks > 2 ? ['one'] : []))
  await ask({ name: image.name })
  expect(looks).toBe(3)
  const alone = answering({ state: 'unreachable' }, () => [])
  expect(await alone.ask({ name: image.name })).toEqual({ state: 'unreachable' })
})
