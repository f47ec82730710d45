import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { afterEach, expect, test } from 'vitest'
import { defaultLimits } from '../../api/limits.ts'
import { createLogger } from '../../kernel/log.ts'
import { run } from '../../kernel/process/run.ts'
import type { TlsMaterial } from '../../kernel/tls/material.ts'
import { listen } from './listener.ts'

const open: (() => unknown)[] = []

afterEach(async () => {
  for (const close of open.splice(0).toReversed()) await close()
})

async function certificate(): Promise<TlsMaterial> {
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', '-']
  const { stdout } = await run('openssl', ['req', '-x509', ...key, '-subj', '/CN=x'])
  return { cert: stdout, key: stdout, ca: stdout }
}

const pendingHandshakes = 8

/** A listener that takes so few, and how to connect to it. */
async function started() {
  const material = await certificate()
  const listener = await listen({
    addresses: [{ kind: 'tcp', host: '127.0.0.1', port: 0 }],
    tls: { current: () => material, onChange: () => () => undefined },
    onConnection: () => undefined,
    logger: createLogger({ level: 'error' }),
    limits: { ...defaultLimits, pendingHandshakes },
  })
  open.push(() => listener.close())
  const [address] = listener.addresses
  const port = address?.kind === 'tcp' ? address.port : 0
  return async (localAddress: string, bytes: Buffer): Promise<Socket> => {
    const socket = connect({ host: '127.0.0.1', port, localAddress })
    socket.on('error', () => undefined)
    open.push(() => socket.destroy())
    await once(socket, 'connect')
    socket.write(bytes)
    return socket
  }
}

const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
const settings = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0])
const client = Buffer.concat([preface, settings])

const isServed = (socket: Socket): Promise<boolean> =>
  Promise.race([once(socket, 'data').then(() => true), once(socket, 'close').then(() => false)])

/** Opens so many that send these bytes and no more. @param gone gets the number of each when it is cut off. */
async function hold(from: Awaited<ReturnType<typeof started>>, address: string, bytes: Buffer, gone: number[]) {
  for (let i = 0; i < pendingHandshakes; i += 1) {
    const socket = await from(address, bytes)
    socket.resume()
    socket.on('close', () => gone.push(i))
  }
}

test.for([
  ['first bytes', Buffer.alloc(0)],
  ['rest of the TLS handshake', Buffer.from([0x16, 3, 1])],
  ['SETTINGS', preface],
] as const)('an address whose connections keep back the %s keeps nobody of another out', async ([, bytes]) => {
  const from = await started()
  const gone: number[] = []
  await hold(from, '127.0.0.2', bytes, gone)
  expect(await isServed(await from('127.0.0.2', client))).toBe(false)
  expect(gone).toEqual([])
  for (let i = 0; i < 3; i += 1) expect(await isServed(await from('127.0.0.1', client))).toBe(true)
  // The first took the place of the oldest, and left it when it had said who it is.
  await expect.poll(() => gone).toEqual([0])
  expect(await isServed(await from('127.0.0.2', client))).toBe(true)
})

test('an address has to leave others no more than they have', async () => {
  const from = await started()
  const [gone, refused]: [number[], number[]] = [[], []]
  await hold(from, '127.0.0.2', Buffer.alloc(0), gone)
  await hold(from, '127.0.0.1', Buffer.alloc(0), refused)
  await expect
    .poll(() => [gone, refused])
    .toEqual([
      [0, 1, 2, 3],
      [4, 5, 6, 7],
    ])
  for (const address of ['127.0.0.1', '127.0.0.2']) expect(await isServed(await from(address, client))).toBe(false)
  expect(await isServed(await from('127.0.0.3', client))).toBe(true)
})

test('TLS that fails, and TLS that is done, take no place any more', async () => {
  const from = await started()
  for (let i = 0; i < 2 * pendingHandshakes; i += 1) {
    const damaged = await from('127.0.0.1', Buffer.from([0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0]))
    damaged.resume()
    if (!damaged.closed) await once(damaged, 'close')
  }
  for (let i = 0; i < 2 * pendingHandshakes; i += 1) {
    const socket = connectTls({ socket: await from('127.0.0.1', Buffer.alloc(0)), rejectUnauthorized: false })
    socket.on('error', () => undefined)
    socket.write(client)
    expect(await isServed(socket)).toBe(true)
  }
})
