import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { heldBy, inodeOf } from './owner.ts'

const table = [
  '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode',
  '   0: 0100007F:115C 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0 100 0 0 10 0',
  '   1: 0200007F:D431 0100007F:115C 01 00000000:00000000 00:00000000 00000000  1000        0 12 1 0 100 0 0 10 0',
  '   2: 0100007F:D431 0100007F:115C 01 00000000:00000000 00:00000000 00000000     0        0 13 1 0 100 0 0 10 0',
  '   3: 0100007F:115C 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 14 1 0 100 0 0 10 0',
  '   4: 0100007F:D432 0100007F:115C 06 00000000:00000000 03:00000000 00000000     0        0 0 1 0 100 0 0 10 0',
].join('\n')

test('the end of a connection is found by both of its addresses', () => {
  expect(inodeOf(table, 0xd431, 0x115c, 'LE')).toBe('13')
  expect(inodeOf(table, 0xd432, 0x115c, 'LE')).toBeUndefined()
  expect(inodeOf(table, 0xd431, 0x115d, 'LE')).toBeUndefined()
  expect(inodeOf(table.replaceAll('0100007F', '7F000001'), 0xd431, 0x115c, 'BE')).toBe('13')
})

const cleanup: (() => void)[] = []
afterEach(() => {
  for (const end of cleanup.splice(0)) end()
})

test('a process that holds the other end is told from one that does not', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  cleanup.push(() => server.close())
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const accepted = once(server, 'connection')
  const client = connect(port, '127.0.0.1')
  cleanup.push(() => client.destroy())
  const [socket] = (await accepted) as [Socket]
  cleanup.push(() => socket.destroy())
  const other = spawn('cat', { stdio: ['pipe', 'ignore', 'ignore'] })
  cleanup.push(() => other.kill())
  await once(other, 'spawn')
  expect(await heldBy(process.pid, socket)).toBe(true)
  expect(await heldBy(other.pid ?? 0, socket)).toBe(false)
})
