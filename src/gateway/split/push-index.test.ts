import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { describeError } from '../../kernel/errors.ts'
import { pushIndex } from './push-index.ts'
import { askRegistry } from './registry-request.ts'

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => server.close().closeAllConnections())
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

test('a token server’s answer that cannot be read is not quoted: it may hold a token', async () => {
  const asked: (string | undefined)[] = []
  const tokens = await serve((request, response) => {
    asked.push(request.headers.authorization)
    response.end('{"token":s3cret-token}')
  })
  const registry = await serve((_, response) => {
    response.writeHead(401, { 'www-authenticate': `Bearer realm="http://${tokens}/token",service="r"` }).end()
  })
  const index = { mediaType: 'application/vnd.oci.image.index.v1+json', digest: 'sha256:1', bytes: Buffer.from('{}') }
  const error: unknown = await pushIndex(index, {
    ...{ names: [`${registry}/team/app:1`], byDigest: false, insecure: false, plainHttp: [] },
    credentials: {
      token: () => Promise.resolve(undefined),
      basic: () => Promise.resolve({ username: 'team', secret: 'hunter2' }),
    },
    signal: new AbortController().signal,
  }).catch((thrown: unknown) => thrown)
  expect(asked).toEqual([`Basic ${Buffer.from('team:hunter2').toString('base64')}`])
  expect(error).toMatchObject({ code: 'PUSH', message: expect.stringContaining('answers 401') as string })
  expect(describeError(error)).not.toMatch(/s3cret|hunter/)
})

test('an answer without end is read as far as it counts', async () => {
  const registry = await serve((_, response) => {
    const more = (): void => {
      while (response.writable && response.write(Buffer.alloc(64 << 10, 'x')));
    }
    response.on('drain', more)
    more()
  })
  const signal = new AbortController().signal
  const options = { method: 'GET', headers: {}, insecure: false, signal } as const
  const { status, body } = await askRegistry(new URL(`http://${registry}/v2/`), options)
  expect(status).toBe(200)
  expect(body.length).toBeLessThanOrEqual(256 << 10)
})
