import { expect, test } from 'vitest'
import type { BuildNode } from './directory.ts'
import { createVigil } from './vigil.ts'

const nodeThat = (answers: () => Promise<unknown>): BuildNode => ({
  name: 'n1',
  report: undefined,
  ready: true,
  dial: () => Promise.reject(new Error('not here')),
  proxy: () => Promise.resolve({}),
  answers,
})

test('a node that stops to answer is told to everybody who is connected, once and with the cause', async () => {
  let asked = 0
  const node = nodeThat(() => (++asked <= 2 ? Promise.resolve() : Promise.reject(new Error('no route'))))
  const vigil = createVigil({ interval: 1, patience: 3 })
  const told = (): Promise<Error> => new Promise((resolve) => vigil.over(node, resolve))
  const [first, second] = await Promise.all([told(), told()])
  expect(first.message).toContain('node n1 has stopped to answer')
  expect(first.cause).toMatchObject({ message: 'no route' })
  expect(second).toBe(first)
  expect(asked).toBe(5)
})

test('answers between failures start the count anew, and nobody is asked when nobody is connected', async () => {
  let asked = 0
  const enough = Promise.withResolvers<void>()
  const node = nodeThat(() => {
    if (++asked === 12) enough.resolve()
    return asked % 3 === 0 ? Promise.resolve() : Promise.reject(new Error('busy'))
  })
  let dead = false
  const end = createVigil({ interval: 1, patience: 3 }).over(node, () => (dead = true))
  await enough.promise
  end()
  const at = asked
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(dead).toBe(false)
  expect(asked).toBe(at)
})
