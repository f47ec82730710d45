import { createHash } from 'node:crypto'
import { describe } from 'vitest'
import { recordAttributes } from '../../src/buildkit/history.ts'
import { historySuite } from '../history-suite.ts'
import { fakeHistory, type FakeRecord } from './fake-history.ts'

const owner = 'person alice'
const mediaType = 'application/vnd.oci.image.manifest.v1+json'

/** Records of images, and their content. */
function images(refs: readonly string[]) {
  const blobs = new Map<string, Buffer>()
  const keep = (content: Buffer) => {
    const digest = `sha256:${createHash('sha256').update(content).digest('hex')}`
    blobs.set(digest, content)
    return { digest, size: content.length }
  }
  const records = refs.map((ref): FakeRecord => {
    const layer = { ...keep(Buffer.alloc((2 << 20) + 1, ref)), mediaType: 'application/vnd.oci.image.layer.v1.tar' }
    const { digest, size } = keep(Buffer.from(JSON.stringify({ mediaType, layers: [layer] })))
    const result = { results: { 0: { mediaType, digest, size: BigInt(size) } } }
    return { ref, frontendAttrs: { [recordAttributes.owner]: owner }, result }
  })
  return { records: new Set(records), blob: (digest: string) => blobs.get(digest) }
}

describe('the fake of a daemon’s history', () => {
  historySuite(() => {
    const refs = ['first', 'second'] as const
    const daemon = fakeHistory(images(refs))
    return Promise.resolve({
      ...{ refs, owner, close: () => Promise.resolve() },
      async ask(path, request) {
        const answers: Uint8Array[] = []
        for await (const message of daemon(path, Buffer.from(request))) answers.push(message)
        return answers
      },
    })
  })
})
