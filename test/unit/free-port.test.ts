import { readFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { expect, test } from 'vitest'
import { freePorts } from '../free-port.ts'

test('free ports are different, can be listened at, and are none that the kernel gives to somebody else meanwhile', async () => {
  const ports = await freePorts(50)
  expect(new Set(ports).size).toBe(50)
  // Another process that runs tests has other ones.
  const lane = Number(process.env['VITEST_POOL_ID']) % 4
  expect(new Set(ports.map((port) => port % 4))).toEqual(new Set([lane]))
  const [first] = (await readFile('/proc/sys/net/ipv4/ip_local_port_range', 'utf8')).split(/\s+/)
  for (const port of ports) {
    expect(port).toBeLessThan(Number(first))
    const server = createServer()
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject).listen(port, '127.0.0.1', resolve)
    })
    await new Promise((resolve) => server.close(resolve))
  }
})
