import { expect, test } from 'vitest'
import { normalizeReference, parseReference, repositoryOf } from './reference.ts'

const digest = `sha256:${'a'.repeat(64)}`

test.for([
  ['app', 'docker.io/library/app:latest'],
  ['app:v1', 'docker.io/library/app:v1'],
  ['team/app', 'docker.io/team/app:latest'],
  ['docker.io/app', 'docker.io/library/app:latest'],
  ['index.docker.io/team/app', 'docker.io/team/app:latest'],
  ['localhost/app', 'localhost/app:latest'],
  ['localhost:5000/app:1', 'localhost:5000/app:1'],
  ['registry.example.com/a/b/c', 'registry.example.com/a/b/c:latest'],
  ['[::1]:5000/app', '[::1]:5000/app:latest'],
  ['Registry/app', 'Registry/app:latest'],
  ['app:5000', 'docker.io/library/app:5000'],
  [`app@${digest}`, `docker.io/library/app@${digest}`],
  [`app:v1@${digest}`, `docker.io/library/app@${digest}`],
  ['a__b/c-d.e', 'docker.io/a__b/c-d.e:latest'],
])('%s is %s', ([name, full]) => {
  expect(normalizeReference(name as string)).toBe(full)
  expect(normalizeReference(full as string)).toBe(full)
})

test.for([
  '',
  'App',
  'team/App',
  'a//b',
  '-a',
  'a/',
  'app:',
  'app:.x',
  'app@sha256:12',
  'a b',
  'f'.repeat(64),
  `x/${'a'.repeat(260)}`,
])('%s is not an image name', (name) => {
  expect(() => parseReference(name)).toThrow(/is not an image name/)
})

test('the repository leaves tag and digest out', () => {
  expect(repositoryOf('team/app:v2')).toBe('docker.io/team/app')
  expect(repositoryOf(`r.test:5000/app@${digest}`)).toBe('r.test:5000/app')
})
