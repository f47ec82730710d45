import { expect, it } from 'vitest'
import { fieldOf } from '../../kernel/grpc/wire.ts'
import { hasMade } from './ended-parts.ts'

const map = (field: number, key: string, value: string): Uint8Array =>
  fieldOf(field, Buffer.concat([fieldOf(1, key), fieldOf(2, value)]))

/** A daemon's record of a build that named two images. */
const record = (attribute: string): Uint8Array => {
  const exporter = Buffer.concat([fieldOf(1, 'image'), map(2, 'name', 'team/app:1, registry.test/team/app:1')])
  const made = fieldOf(3, Buffer.concat([fieldOf(1, 0), fieldOf(2, fieldOf(2, 'sha256:b'))]))
  return Buffer.concat([fieldOf(1, 'ref'), map(3, attribute, 'linux/arm64'), fieldOf(4, exporter), fieldOf(10, made)])
}

it.each([
  ['a part made under its names', 'insitu.part', 'docker.io/team/app:1', 'sha256:b', true],
  ['a part made under its names', 'insitu.part', 'registry.test/team/app:1', 'sha256:b', true],
  ['has a name that the part did not write', 'insitu.part', 'registry.test/team/app:2', 'sha256:b', false],
  ['has a name of the part, which made another', 'insitu.part', 'registry.test/team/app:1', 'sha256:c', false],
  ['a build of one node made', 'platform', 'registry.test/team/app:1', 'sha256:b', false],
])('an image that %s', (_, attribute, name, digest, expected) => {
  expect(hasMade(record(attribute), { name, digest })).toBe(expected)
})
