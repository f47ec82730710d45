import { create } from '@bufbuild/protobuf'
import { expect, test } from 'vitest'
import { type Result, ResultSchema } from '../../buildkit/gen/gateway_pb.ts'
import { mergeResults, refsOf } from './merge-results.ts'

const platforms = ['linux/arm64', 'linux/amd64', 'linux/386']
const json = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value))
const text = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString('utf8')

const single = create(ResultSchema, {
  result: { case: 'ref', value: { id: 'one' } },
  metadata: { 'containerimage.config': Buffer.from('of arm64'), other: Buffer.from('x') },
})
const two: Result = create(ResultSchema, {
  result: { case: 'refs', value: { refs: { 'linux/amd64': { id: 'two' }, 'linux/386': { id: 'three' } } } },
  metadata: {
    'containerimage.config/linux/amd64': Buffer.from('of amd64'),
    'refs.platforms': json({
      Platforms: [
        { ID: 'linux/386', Platform: { architecture: '386', os: 'linux' } },
        { ID: 'linux/amd64', Platform: { architecture: 'amd64', os: 'linux' } },
      ],
    }),
  },
})

test('results of parts are one result, as of a frontend that was asked for all platforms', () => {
  const merged = mergeResults(
    [
      { part: { platforms: ['linux/amd64', 'linux/386'] }, result: two },
      { part: { platforms: ['linux/arm64'] }, result: single },
    ],
    platforms,
  )
  expect(merged.result).toMatchObject({
    case: 'refs',
    value: { refs: { 'linux/arm64': { id: 'one' }, 'linux/amd64': { id: 'two' }, 'linux/386': { id: 'three' } } },
  })
  expect(refsOf(merged).toSorted()).toEqual(['one', 'three', 'two'])
  expect(text(merged.metadata['containerimage.config/linux/arm64'])).toBe('of arm64')
  expect(text(merged.metadata['containerimage.config/linux/amd64'])).toBe('of amd64')
  expect(merged.metadata['containerimage.config']).toBeUndefined()
  expect(text(merged.metadata['other'])).toBe('x')
  const { Platforms } = JSON.parse(text(merged.metadata['refs.platforms'])) as { Platforms: { ID: string }[] }
  expect(Platforms.map(({ ID }) => ID)).toEqual(platforms)
})

test('a part that made nothing has its place all the same', () => {
  const empty = create(ResultSchema, {})
  const merged = mergeResults([{ part: { platforms: ['linux/arm/v7'] }, result: empty }], ['linux/arm/v7'])
  expect(merged.result).toMatchObject({ case: 'refs', value: { refs: { 'linux/arm/v7': { id: '' } } } })
  expect(JSON.parse(text(merged.metadata['refs.platforms']))).toEqual({
    Platforms: [{ ID: 'linux/arm/v7', Platform: { architecture: 'arm', os: 'linux', variant: 'v7' } }],
  })
  expect(refsOf(empty)).toEqual([])
})
