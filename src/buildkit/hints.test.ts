import { expect, test } from 'vitest'
import { readHints, withoutHints } from './hints.ts'

test('hints are read from options, build arguments and exporter attributes', () => {
  expect(readHints({ 'insitu.node': 'a' }, { 'insitu.for': 'deploy/web' })).toEqual({ node: 'a', for: 'deploy/web' })
  expect(readHints({ 'build-arg:insitu.node': 'a' })).toEqual({ node: 'a' })
  expect(readHints({ target: 'x' })).toEqual({})
})

test('a hint said twice must say the same', () => {
  expect(readHints({ 'insitu.node': 'a', 'build-arg:insitu.node': 'a' })).toEqual({ node: 'a' })
  expect(() => readHints({ 'insitu.node': 'a' }, { 'insitu.node': 'b' })).toThrow('said twice: "a" and "b"')
})

test('an unknown hint is refused with the known ones', () => {
  expect(() => readHints({ 'insitu.nod': 'a' })).toThrow('there is no option insitu.nod')
})

test('only our options are taken out', () => {
  const options = { 'insitu.node': 'a', 'build-arg:insitu.for': 'b', 'build-arg:insituX': 'c', target: 'd' }
  expect(withoutHints(options)).toEqual({ 'build-arg:insituX': 'c', target: 'd' })
  const plain = { target: 'd' }
  expect(withoutHints(plain)).toBe(plain)
})
