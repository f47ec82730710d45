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
  const node = nodeThat(() => (++asked % 3 === 0 ? Promise.resolve() : Promise.reject(new Error('busy'))))
  let dead = false
  const vigil = createVigil({ interval: 1, patience: 3 })
  const end = vigil.over(node, () => (dead = true))
  await expect.poll(() => asked).toBeGreaterThan(12)
  end()
  const at = asked
  // Another node is asked at the same pace meanwhile.
  let others = 0
  const endOther = vigil.over({ ...nodeThat(() => Promise.resolve(void others++)), name: 'n2' }, () => undefined)
  await expect.poll(() => others).toBeGreaterThan(12)
  endOther()
  expect(dead).toBe(false)
  expect(asked).toBe(at)
})
