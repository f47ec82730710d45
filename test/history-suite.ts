import { create, toBinary } from '@bufbuild/protobuf'
import { createHash } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { childrenOf, contentPaths, namesOthers, readData, readRequest } from '../src/buildkit/content.ts'
import { BuildHistoryRequestSchema, UpdateBuildHistoryRequestSchema } from '../src/buildkit/gen/control_pb.ts'
import {
  daemonRequestFor,
  decodeHistoryEvent,
  encodeHistoryRequest,
  everyRecord,
  historyEvent,
  recordOwner,
} from '../src/buildkit/history.ts'
import { paths } from '../src/buildkit/methods.ts'

/** A daemon that has ended two builds. */
export interface HasHistory {
  /** All messages of the answer; throws its status. */
  readonly ask: (path: string, request: Uint8Array) => Promise<readonly Uint8Array[]>
  /** Each has an image with a layer of more than 2 MiB. */
  readonly refs: readonly [string, string]
  /** Whose they are. */
  readonly owner: string
  close(): Promise<void>
}

/**
 * What the gateway's history relies on in a daemon's records and content. The fake of the unit tests passes it, and so does
 * a buildkitd: otherwise those tests would say nothing.
 */
export function historySuite(open: () => Promise<HasHistory>): void {
  let daemon: HasHistory
  beforeAll(async () => {
    daemon = await open()
  })
  afterAll(() => daemon?.close())

  const told = async (request: Uint8Array) =>
    (await daemon.ask(paths.listenBuildHistory, request)).map((message) => decodeHistoryEvent(message))
  const refs = async (request: Uint8Array): Promise<string[]> =>
    (await told(request)).map(({ record }) => record?.ref ?? '').toSorted()
  const read = async (digest: string): Promise<Buffer> => {
    const pieces = (await daemon.ask(contentPaths.read, readRequest(digest))).map(readData)
    expect(Math.max(...pieces.map(({ length }) => length))).toBeLessThanOrEqual(1 << 20)
    return Buffer.concat(pieces)
  }
  const remove = (ref: string) => {
    const request = create(UpdateBuildHistoryRequestSchema, { ref, delete: true })
    return daemon.ask(paths.updateBuildHistory, toBinary(UpdateBuildHistoryRequestSchema, request))
  }

  it('tells every record once, as complete and with its owner, and ends', async () => {
    const events = await told(everyRecord())
    expect(events.map(({ type }) => type)).toEqual([historyEvent.complete, historyEvent.complete])
    expect(events.map(({ record }) => record && recordOwner(record))).toEqual([daemon.owner, daemon.owner])
    expect(await refs(everyRecord())).toEqual(daemon.refs.toSorted())
  })

  it('tells the record that is asked for, and nothing of one that it does not have', async () => {
    for (const ref of daemon.refs) expect(await refs(daemonRequestFor(ref))).toEqual([ref])
    expect(await refs(daemonRequestFor('never'))).toEqual([])
  })

  it('tells nothing of builds that have ended when the running ones are asked for', async () => {
    const request = create(BuildHistoryRequestSchema, { activeOnly: true, earlyExit: true })
    expect(await refs(encodeHistoryRequest(request))).toEqual([])
  })

  it('gives what a record names, and what that names, in pieces of at most 1 MiB', async () => {
    const sizes: number[] = []
    const walk = async (digest: string, mediaType: string): Promise<void> => {
      const content = await read(digest)
      expect(`sha256:${createHash('sha256').update(content).digest('hex')}`).toBe(digest)
      sizes.push(content.length)
      if (!namesOthers(mediaType)) return
      for (const child of childrenOf(content)) await walk(child.digest, child.mediaType)
    }
    for (const { record } of await told(everyRecord())) {
      const results = Object.values(record?.result?.results ?? {})
      expect(results).toHaveLength(1)
      for (const { digest, mediaType } of results) await walk(digest, mediaType)
    }
    expect(sizes.filter((size) => size > 2 << 20)).toHaveLength(2)
  })

  it('says that it has no content of an unknown digest', async () => {
    await expect(read(`sha256:${'0'.repeat(64)}`)).rejects.toMatchObject({ status: 'NOT_FOUND' })
  })

  it('forgets what is deleted, and says of what it does not have that it is not found', async () => {
    // In words only: its status is UNKNOWN.
    await expect(remove('never')).rejects.toThrow(/not found/)
    expect(await refs(everyRecord())).toEqual(daemon.refs.toSorted())
    await remove(daemon.refs[0])
    expect(await refs(everyRecord())).toEqual([daemon.refs[1]])
    expect(await refs(daemonRequestFor(daemon.refs[0]))).toEqual([])
    await expect(remove(daemon.refs[0])).rejects.toThrow(/not found/)
  })
}
