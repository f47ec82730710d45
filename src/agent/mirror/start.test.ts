import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { createLogger } from '../../kernel/log.ts'
import type { Gateways } from './gateways.ts'
import { startMirror } from './mirror.ts'

test('a mirror whose port is taken leaves nothing behind: it is tried again', async () => {
  const other = createServer()
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
  const { port } = other.address() as AddressInfo
  let open = 0
  const gateways = (): Gateways => {
    open += 1
    return { connected: () => [], get: () => Promise.resolve({ state: 'none' }), close: () => void (open -= 1) }
  }
  const start = () =>
    startMirror({
      ...{ containerdRoot: '/nowhere', containerd: () => Promise.reject(new Error('not asked')), gateways: gateways() },
      ...{ tls: new Promise(() => {}), port, host: '127.0.0.1', log: createLogger({ level: 'silent' }) },
      records: { find: () => undefined, list: () => [], revision: () => 0 },
      daemon: () => undefined,
    })
  await expect(start()).rejects.toThrow('EADDRINUSE')
  expect(open).toBe(0)
  await new Promise((resolve) => other.close(resolve))
  const mirror = await start()
  expect([open, mirror.server.port]).toEqual([1, port])
  await mirror.close()
  expect(open).toBe(0)
})
