import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { afterEach, expect, test } from 'vitest'
import { createLogger } from '../../kernel/log.ts'
import { builtContent, type BuiltRecords } from './built-content.ts'
import { contentStore } from './content.ts'
import { createLinks } from './links.ts'
import type { Remote } from './remote.ts'
import { createRequests } from './requests.ts'
import type { Source } from './source.ts'

const never = (): never => {
  throw new Error('nothing of this is done here')
}
const bytes = Buffer.from('a layer')
const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`
const server = createServer()
afterEach(() => void server.close())

test('a layer comes to containerd, whether or not it can be kept there', async () => {
  const records: BuiltRecords = {
    ...{ find: () => undefined, list: () => [], revision: () => 0 },
    arrivingContent: () => Promise.reject(new Error('containerd is busy')),
  }
  const store = contentStore('/nowhere')
  const peer = { node: 'n', host: 'n', port: 1 }
  const source: Source = {
    open: () => Promise.resolve({ peer, size: bytes.length, mediaType: 'any', body: Readable.from([bytes]) }),
    blame: never,
  }
  const remote: Remote = {
    blob: (repository) => Promise.resolve({ repository, digest, peers: () => Promise.resolve([peer]) }),
    ...{ manifest: never, sizeOf: never, unknown: never, position: () => undefined },
  }
  const handle = createRequests({
    ...{ records, store, built: builtContent(records, store), remote, source, links: createLinks() },
    ...{ lookups: { ask: never, change: never, demand: never }, discard: never },
    log: createLogger({ level: 'silent' }),
  })
  server.on('request', (request, response) => void handle(request, response))
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const answer = await fetch(`http://127.0.0.1:${port}/v2/a/blobs/${digest}?ns=registry.test`)
  expect([answer.status, await answer.text()]).toEqual([200, 'a layer'])
})
