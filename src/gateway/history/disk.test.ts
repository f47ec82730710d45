import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { describe, expect, it } from 'vitest'
import { DiskUsageResponseSchema, type UsageRecord, UsageRecordSchema } from '../../buildkit/gen/control_pb.ts'
import { paths } from '../../buildkit/methods.ts'
import { InsituError } from '../../kernel/errors.ts'
import type { Caller } from '../listener/caller.ts'
import { admitAll } from '../policy/admission.ts'
import { fakeClient, fakeContext, type FakeDaemon } from '../../../test/unit/fake-relay.ts'
import { answerDiskUsage } from './disk.ts'

const caller: Caller = { kind: 'loopback', address: '127.0.0.1' }
/** What BuildKit's client accepts. */
const accepted = 16 << 20

type Said = Partial<Omit<UsageRecord, '$typeName' | '$unknown'>>

const answer = (records: readonly Said[]): Uint8Array =>
  toBinary(
    DiskUsageResponseSchema,
    create(DiskUsageResponseSchema, { record: records.map((one) => create(UsageRecordSchema, one)) }),
  )

/** As many records as make so many MiB. The first ones are the largest. */
function recordsOf(node: string, mebibytes: number, each: Said): Said[] {
  const records: Said[] = []
  const one = answer([{ id: `${node}-10000`, size: 1n << 40n, inUse: true, shared: true, ...each }]).length
  const count = Math.ceil((mebibytes << 20) / one)
  for (let i = 0; i < count; i++) {
    const flags = { inUse: i % 3 === 0, shared: i % 5 === 0 }
    records.push({ id: `${node}-${i}`, size: BigInt(count - i) << 20n, ...flags, ...each })
  }
  return records
}

/** As buildx and buildctl add up. */
function summed(records: readonly Said[]) {
  const of = (which: (one: Said) => boolean): bigint =>
    records.filter(which).reduce((sum, { size = 0n }) => sum + size, 0n)
  return {
    total: of(() => true),
    reclaimable: of((one) => one.inUse !== true),
    shared: of((one) => one.shared === true),
  }
}

async function usage(daemons: Readonly<Record<string, FakeDaemon>>, administrator = true) {
  const context = fakeContext(Object.keys(daemons), { admission: { ...admitAll, administrator: () => administrator } })
  const client = fakeClient(daemons, { path: paths.diskUsage, request: new Uint8Array(), caller })
  await answerDiskUsage(context, client.call)
  const [message = Buffer.alloc(0)] = client.messages
  const { record } = fromBinary(DiskUsageResponseSchema, message)
  const { trailers } = client.stream
  return { bytes: message.length, records: record, ids: new Set(record.map(({ id }) => id)), trailers }
}

const nodes = ['red', 'green', 'blue']
const daemonsOf = (records: Readonly<Record<string, readonly Said[]>>): Record<string, FakeDaemon> =>
  Object.fromEntries(Object.entries(records).map(([node, list]) => [node, () => [answer(list)]]))

describe('what the daemons say together is never more than clients accept', () => {
  it('where descriptions are long they are shortened, and all records are there', async () => {
    const each = { description: `RUN ${'ü'.repeat(2000)}` }
    const records = Object.fromEntries(nodes.map((node) => [node, recordsOf(node, 6, each)]))
    const { bytes, records: got, ids } = await usage(daemonsOf(records))
    expect(bytes).toBeLessThan(accepted)
    const all = Object.values(records).flat()
    expect(all.filter(({ id = '' }) => !ids.has(id))).toEqual([])
    expect(got).toHaveLength(all.length)
    expect(summed(got)).toEqual(summed(all))
    expect(new Set(got.map(({ description }) => description))).toEqual(new Set([`RUN ${'ü'.repeat(48)}…`]))
  })

  it('where there are too many records the smaller ones are summed up, as what they are', async () => {
    // As long as an id can be: there is nothing to shorten.
    const records = Object.fromEntries(
      nodes.map((node) => [node, recordsOf(node, 6, { description: 'x'.repeat(100) })]),
    )
    const { bytes, records: got, ids } = await usage(daemonsOf(records))
    expect(bytes).toBeLessThan(accepted)
    const all = Object.values(records).flat()
    expect(summed(got)).toEqual(summed(all))
    for (const node of nodes) {
      expect([ids.has(`${node}-0`), ids.has(`${node}-${(records[node]?.length ?? 0) - 1}`)]).toEqual([true, false])
      const rest = got.filter(({ id }) => id.startsWith(`[insitu] node ${node}: `))
      expect(rest.map(({ inUse, shared }) => `${inUse} ${shared}`).toSorted()).toEqual([
        ...['false false', 'false true', 'true false', 'true true'],
      ])
      const left = rest.map(({ id }) => Number(/: (\d+) smaller records$/.exec(id)?.[1]))
      const here = got.filter(({ id }) => id.startsWith(`${node}-`)).length
      expect(here + left.reduce((a, b) => a + b)).toBe(records[node]?.length)
      expect(here).toBeGreaterThan(10_000)
    }
    // None that is left out is larger than one that is there.
    const least = got.filter(({ id }) => !id.startsWith('[insitu]')).reduce((a, b) => (a.size < b.size ? a : b)).size
    expect(all.filter(({ id = '', size = 0n }) => size > least && !ids.has(id))).toEqual([])
  })
})

it('who is no administrator gets no descriptions, and what else a record says', async () => {
  const full = { id: 'a', size: 7n, description: 'RUN secret' }
  // A field that insitu does not know: usage count 3.
  const record = Buffer.concat([toBinary(UsageRecordSchema, create(UsageRecordSchema, full)), Buffer.from([8 << 3, 3])])
  const daemon: FakeDaemon = () => [Buffer.concat([Buffer.from([10, record.length]), record])]
  const { records } = await usage({ red: daemon }, false)
  expect(records).toHaveLength(1)
  expect(records[0]).toMatchObject({ id: 'a', size: 7n, description: '' })
  expect(records[0]?.$unknown).toMatchObject([{ no: 8, data: Buffer.of(3) }])
})

it('a node that says too much, or breaks off, is missing with all of it, and says why', async () => {
  const broken: FakeDaemon = function* () {
    yield answer([{ id: 'broken-0', size: 1n }])
    throw new InsituError('LOST', 'it fell over', { status: 'UNAVAILABLE' })
  }
  const much: FakeDaemon = () => [answer(recordsOf('much', 17, { description: 'x'.repeat(1000) }))]
  const fine: FakeDaemon = () => [answer([{ id: 'fine-0', size: 1n }])]
  const { records, trailers } = await usage({ broken, much, fine })
  const said = records.map(({ id, description }) => `${id} ${description}`).toSorted()
  expect(said).toEqual([
    expect.stringMatching(/^\[insitu\] node broken is missing .*it fell over/),
    expect.stringMatching(/^\[insitu\] node much is missing .*too large/),
    'fine-0 ',
  ])
  expect(String(trailers)).toMatch(/broken,much|much,broken/)
})
