import { expect, test } from 'vitest'
import { originClient } from './ask-origin.ts'

test('a proxy that is no URL fails the request, and its password is in no error', async () => {
  const client = originClient({ HTTPS_PROXY: 'http://user:s3cret#x@' }, undefined)
  const request = { method: 'HEAD', headers: {}, signal: AbortSignal.timeout(5000) } as const
  const asked = client.ask(new URL('https://r.test/v2/'), { ca: undefined, insecure: false }, request)
  await expect(asked).rejects.toThrow(/^the address of the proxy is not a URL$/)
  client.close()
})
