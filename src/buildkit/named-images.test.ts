import { create } from '@bufbuild/protobuf'
import { expect, test } from 'vitest'
import { BuildHistoryRecordSchema, SolveRequestSchema } from './gen/control_pb.ts'
import { namedImages, needsRecord } from './named-images.ts'

type Exporters = readonly (readonly [type: string, attrs: Record<string, string>])[]
const request = (...exporters: Exporters) =>
  create(SolveRequestSchema, { exporters: exporters.map(([type, attrs]) => ({ type, attrs })) })
/** Of the exporters by their index, as a daemon writes them down. */
const record = (...digests: readonly (string | undefined)[]) => {
  const found = digests.flatMap((digest, i) => (digest === undefined ? [] : [[String(i), { digest }] as const]))
  return create(BuildHistoryRecordSchema, { result: { results: Object.fromEntries(found) } })
}
const last = { exporterResponse: { 'containerimage.digest': 'sha256:last', 'image.name': 'x:1,y' } }

test('the names of one image point to what the answer says', () => {
  const asked = request(['image', { name: 'app,team/b:1' }], ['local', {}])
  expect(needsRecord(asked)).toBe(false)
  expect([...namedImages(asked, last)]).toEqual([
    ['docker.io/library/app:latest', 'sha256:last'],
    ['docker.io/team/b:1', 'sha256:last'],
  ])
})

test('with name=* the answer tells the names', () => {
  const asked = request(['image', { name: '*' }])
  expect([...namedImages(asked, last).keys()]).toEqual(['docker.io/library/x:1', 'docker.io/library/y:latest'])
})

test('of several images the record tells whose digest is whose', () => {
  const asked = request(['image', { name: 'app' }], ['local', {}], ['oci', { name: 'x' }], ['image', { name: 'b' }])
  expect(needsRecord(asked)).toBe(true)
  expect([...namedImages(asked, last, record('sha256:app', undefined, 'sha256:x', 'sha256:b'))]).toEqual([
    ['docker.io/library/app:latest', 'sha256:app'],
    ['docker.io/library/b:latest', 'sha256:b'],
  ])
})

test('without one nobody knows, and what a frontend chose may be the name of another', () => {
  expect([...namedImages(request(['image', { name: 'app,*' }], ['docker', { name: 'x' }]), last)]).toEqual([
    ['docker.io/library/app:latest', undefined],
  ])
  const unnamed = request(['image', { name: '*' }], ['oci', { name: 'x' }])
  expect([needsRecord(unnamed), namedImages(unnamed, last).size]).toEqual([false, 0])
})
