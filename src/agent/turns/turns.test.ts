import { expect, it } from 'vitest'
import { createNodeTurns, type NodeTurns } from './turns.ts'

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

function ask(turns: NodeTurns, limit: number) {
  const cancel = new AbortController()
  const places: number[] = []
  let release: (() => void) | undefined
  const done = turns.wait({ limit, signal: cancel.signal, onPlace: (place) => places.push(place) }).then(
    (give) => void (release = give),
    (error: unknown) => error,
  )
  return { cancel, places, done, started: () => release !== undefined, release: () => release?.() }
}

it('as many as the limit have a turn, the others wait in their order, and who is gone waits no more', async () => {
  const turns = createNodeTurns()
  const [a, b, c, d] = [ask(turns, 2), ask(turns, 2), ask(turns, 2), ask(turns, 2)]
  await settle()
  expect([a, b, c, d].map((one) => one.started())).toEqual([true, true, false, false])
  expect([c.places, d.places]).toEqual([[1], [2]])
  c.cancel.abort(new Error('gone'))
  expect(await c.done).toMatchObject({ message: 'gone' })
  expect(d.places).toEqual([2, 1])
  a.release()
  a.release()
  await settle()
  expect(d.started()).toBe(true)
  expect(turns).toMatchObject({ taken: 2, waiting: 0 })
})

it('one with a lower limit waits, and keeps nobody else waiting', async () => {
  const turns = createNodeTurns()
  const [first, low, high] = [ask(turns, 3), ask(turns, 1), ask(turns, 3)]
  await settle()
  expect([first, low, high].map((one) => one.started())).toEqual([true, false, true])
  first.release()
  await settle()
  expect(low.started()).toBe(false)
  high.release()
  await settle()
  expect(low.started()).toBe(true)
})
