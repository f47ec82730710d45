import { expect, it } from 'vitest'
import { contentPaths, readData, readRequest } from '../../buildkit/content.ts'
import { recordAttributes } from '../../buildkit/history.ts'
import { identityOf, type Caller } from '../listener/caller.ts'
import { fakeHistory } from '../../../test/unit/fake-history.ts'
import { fakeClient, fakeContext, type FakeDaemon, inNoTime } from '../../../test/unit/fake-relay.ts'
import { answerContent } from './content.ts'

const caller: Caller = { kind: 'loopback', address: '127.0.0.1' }
const mediaType = 'application/vnd.oci.image.manifest.v1+json'
const digestOf = (i: number): string => `sha256:${String(i).padStart(64, '0')}`
const layer = digestOf(99)
/** Messages of blobs that daemons were asked for. */
let pieces = 0

/** A daemon with ten images, the last of which has the layer; each of its answers takes so many milliseconds. */
const images = (takes: number, blob: (i: number) => string): FakeDaemon => {
  const frontendAttrs = { [recordAttributes.owner]: identityOf(caller) }
  const records = Array.from({ length: 10 }, (_, i) => {
    const result = { results: { 0: { mediaType, digest: digestOf(i), size: 100n } } }
    return { ref: `${i}`, frontendAttrs, result }
  })
  const data = (digest: string): string =>
    digest === layer ? 'the layer' : blob(Number(digest.slice('sha256:'.length)))
  const daemon = fakeHistory({ takes, records: new Set(records), blob: (digest) => Buffer.from(data(digest)) })
  return async function* (path, request) {
    for await (const message of daemon(path, request)) {
      if (path === contentPaths.read) pieces += 1
      yield message
    }
  }
}

const manifest = (layers: readonly string[]): string =>
  JSON.stringify({ layers: layers.map((digest) => ({ digest, mediaType: 'application/tar', size: 9 })) })

async function read(daemon: FakeDaemon): Promise<string> {
  const client = fakeClient({ red: daemon }, { path: contentPaths.read, request: readRequest(layer), caller })
  const context = fakeContext(['red'], { patience: 1000 })
  await inNoTime(() => answerContent(context, client.call))
  return client.messages.map((message) => Buffer.from(readData(message)).toString()).join('')
}

it('a node that answers is asked for its records and what they name, however long it takes for all', async () => {
  expect(await read(images(300, (i) => manifest(i === 9 ? [layer] : [])))).toBe('the layer')
})

it('a manifest that is larger than said is not kept in memory', async () => {
  const huge = ' '.repeat(8 << 20)
  pieces = 0
  expect(await read(images(0, (i) => (i === 0 ? huge : manifest(i === 9 ? [layer] : []))))).toBe('the layer')
  // Four of it, one more, nine manifests and the layer.
  expect(pieces).toBe(15)
})
