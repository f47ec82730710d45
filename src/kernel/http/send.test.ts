import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { send } from './send.ts'

test('a proxy is used however its address is written, and its password is in no error', async () => {
  const asked: (string | undefined)[] = []
  const server = createServer((request, response) => {
    asked.push(request.url, request.headers['proxy-authorization'])
    response.end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  try {
    // Of a Secret that was made from a file, whose last line ends.
    const HTTP_PROXY = `HTTP://user:s3cret\n@127.0.0.1:${port}`
    const response = await send(new URL('http://registry.test/v2/'), {
      ...{ method: 'GET', headers: {}, proxies: { HTTP_PROXY }, signal: AbortSignal.timeout(5000) },
    })
    expect(response.statusCode).toBe(200)
    response.resume()
    const credentials = `Basic ${Buffer.from('user:s3cret').toString('base64')}`
    expect(asked).toEqual(['http://registry.test/v2/', credentials])
  } finally {
    server.closeAllConnections()
    server.close()
  }
})
