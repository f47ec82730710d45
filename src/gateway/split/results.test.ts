import { expect, test } from 'vitest'
import { looseStream } from '../../../test/unit/loose-stream.ts'
import type { Http2Stream } from '../http2/stream.ts'
import type { Call } from '../relay/context.ts'
import { readPartImage } from './results.ts'
import type { BuildPart } from './split-build.ts'

const part = { node: { name: 'a' }, platforms: ['linux/amd64'] } as unknown as BuildPart
const made = { mediaType: 'application/vnd.oci.image.index.v1+json', digest: 'sha256:made', size: 7 }
const manifest = { mediaType: 'application/vnd.oci.image.manifest.v1+json', digest: 'sha256:one', size: 3 }

/** A daemon that answers Content/Read with this gRPC status. */
function daemon(status: number): Call {
  const request = (): Http2Stream => {
    const stream = looseStream()
    setImmediate(() => {
      stream.emit('response', [':status', '200'], false)
      stream.emit('trailers', ['grpc-status', String(status), 'grpc-message', 'content digest sha256:made: no'])
      stream.receivedEnd()
      stream.finish(0)
    })
    return stream
  }
  return { upstreams: { to: () => Promise.resolve({ node: 'a', lost: () => undefined, request }) } } as unknown as Call
}

const read = (call: Call, pushed?: () => Promise<string>) => {
  const encoded = Buffer.from(JSON.stringify(made)).toString('base64')
  return readPartImage(call, part, { 'containerimage.descriptor': encoded }, new AbortController().signal, pushed)
}

test('an index that a node has collected is read where it was pushed to', async () => {
  const image = await read(daemon(5), () => Promise.resolve(JSON.stringify({ manifests: [manifest] })))
  expect(image.manifests).toEqual([manifest])
})

test('it is asked for nowhere else when the node fails in another way, or nothing was pushed', async () => {
  const never = (): Promise<string> => Promise.reject(new Error('asked'))
  await expect(read(daemon(13), never)).rejects.toThrow('node a: content digest sha256:made: no')
  await expect(read(daemon(5))).rejects.toThrow('node a: content digest sha256:made: no')
})
