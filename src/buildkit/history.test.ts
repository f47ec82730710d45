import { create } from '@bufbuild/protobuf'
import { expect, test } from 'vitest'
import { BuildHistoryEventSchema } from './gen/control_pb.ts'
import { decodeHistoryEvent, encodeHistoryEvent, partOfRecord, recordAttributes } from './history.ts'

const attestations = [{ mediaType: 'application/vnd.in-toto+json', digest: 'sha256:1' }]
const results = { '0': { digest: 'sha256:image' } }
const sent = (part: string | undefined) => {
  const frontendAttrs = part === undefined ? {} : { [recordAttributes.part]: part }
  const record = { ref: 'r', frontendAttrs, result: { attestations, results } }
  return decodeHistoryEvent(encodeHistoryEvent(create(BuildHistoryEventSchema, { record }), 'n1')).record
}

test('the provenance of a part says its platform, so that clients have one for each', () => {
  const record = sent('linux/arm64')
  expect(Object.keys(record?.results ?? {})).toEqual(['linux/arm64'])
  expect(record?.results['linux/arm64']?.attestations).toMatchObject(attestations)
  expect(record?.result).toMatchObject({ attestations: [], results })
  expect(record && partOfRecord(record)).toEqual(['linux/arm64'])
})

test('that of a whole build is left as it is', () => {
  const record = sent(undefined)
  expect(record).toMatchObject({ results: {}, result: { attestations, results } })
  expect(record && partOfRecord(record)).toBeUndefined()
})
