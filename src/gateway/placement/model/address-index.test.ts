import { expect, test } from 'vitest'
import type { PodFacts } from '../cluster.ts'
import { podFacts, sketch, type PodSketch } from '../../../../test/unit/placement/sketch.ts'

const ip = '10.0.0.7'

/** A cluster whose pods come, change and go; says who has an address. */
function cluster() {
  const model = sketch({ nodes: { n1: {}, n2: {} } })
  const pods = new Map<string, PodFacts>()
  const put = (name: string, pod: PodSketch): void => {
    const facts = podFacts(model, { name, node: 'n1', ...pod })
    model.updatePod(facts, pods.get(name))
    pods.set(name, facts)
  }
  return {
    put,
    remove: (name: string) => model.updatePod(undefined, pods.get(name)),
    at: (address = ip) => model.byIp(address)?.name,
  }
}
const terminating = { profile: { terminating: true } }

test('a late event of a pod that had the address before does not take it back', () => {
  const { put, remove, at } = cluster()
  put('old', { ip, created: 1000 })
  put('new', { ip, created: 2000, node: 'n2' })
  expect(at()).toBe('new')
  put('old', { ip, created: 1000 })
  expect(at()).toBe('new')
  put('old', { ip, created: 1000, ...terminating })
  expect(at()).toBe('new')
  remove('old')
  expect(at()).toBe('new')
  remove('new')
  expect(at()).toBeUndefined()
})

test('a pod that is being deleted has no address that another one has, whoever is older or was heard of first', () => {
  const { put, at } = cluster()
  put('old', { ip, created: 1000 })
  put('dying', { ip, created: 2000, ...terminating })
  expect(at()).toBe('old')
  const other = cluster()
  other.put('dying', { ip, created: 2000 })
  other.put('old', { created: 1000 })
  other.put('dying', { ip, created: 2000, ...terminating })
  expect(other.at()).toBe('dying')
  other.put('old', { ip, created: 1000 })
  expect(other.at()).toBe('old')
})

test('of a list the newest pod has it, in whichever order they stand', () => {
  for (const names of [
    ['old', 'new'],
    ['new', 'old'],
  ]) {
    const { put, at } = cluster()
    for (const name of names) put(name, { ip, created: name === 'new' ? 2000 : 1000 })
    expect(at()).toBe('new')
  }
})

test('pods whose node was switched off and on get new addresses, also one another’s', () => {
  const { put, remove, at } = cluster()
  put('a', { ip, created: 1000 })
  put('b', { ip: '10.0.0.8', created: 2000 })
  // The news come one after the other.
  put('a', { ip: '10.0.0.8', created: 1000 })
  expect([at(), at('10.0.0.8')]).toEqual([undefined, 'a'])
  put('b', { ip, created: 2000 })
  expect([at(), at('10.0.0.8')]).toEqual(['b', 'a'])
  remove('b')
  expect([at(), at('10.0.0.8')]).toEqual([undefined, 'a'])
})

test('who has lost it to another pod has it again when that one is gone', () => {
  const { put, remove, at } = cluster()
  put('a', { ip, created: 1000 })
  put('b', { ip, secondIp: 'fd00::7', created: 2000 })
  expect([at(), at('fd00::7')]).toEqual(['b', 'b'])
  put('a', { ip, secondIp: 'fd00::7', created: 1000 })
  remove('b')
  expect([at(), at('fd00::7')]).toEqual(['a', 'a'])
})

test('a pod that is being deleted does not get it back; one that comes after it under its name has it', () => {
  const { put, remove, at } = cluster()
  put('db-0', { ip, created: 1000, ...terminating })
  put('other', { ip, created: 2000 })
  remove('other')
  put('db-0', { ip, created: 1000, ...terminating })
  expect(at()).toBeUndefined()
  put('db-0', { ip, created: 3000 })
  expect(at()).toBe('db-0')
})
