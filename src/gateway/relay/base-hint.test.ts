import { expect, test } from 'vitest'
import { baseHint } from './base-hint.ts'

const base = 'registry.example:5000/team/base:v1'
const holders = (name: string): string[] =>
  name === base || name === 'docker.io/library/base:latest' ? ['a', 'b'] : []
const failed = (name: string): string =>
  `failed to solve: ${name}: failed to resolve source metadata for ${name}: ${name}: not found`

test('a base that is on other nodes is named, with the registry to configure', () => {
  expect(baseHint(failed(base), 'c', holders)).toBe(
    `[insitu] ${base} was built on node a, and node c did not get it from there: is registry.example:5000 among the bases of [agent.mirror] in insitu.toml?`,
  )
  expect(baseHint(failed('base'), 'a', holders)).toContain('docker.io/library/base:latest was built on node b,')
})

test.each([
  ['a base that nobody has', failed('team/other:v1')],
  ['another failure', 'failed to solve: process "/bin/sh -c false" did not complete successfully: exit code: 1'],
  ['something that is no name', failed('A//B')],
])('nothing is said about %s', (_, message) => {
  expect(baseHint(message, 'c', holders)).toBeUndefined()
})
