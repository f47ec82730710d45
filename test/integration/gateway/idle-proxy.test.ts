import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rm, writeFile } from 'node:fs/promises'
import * as http2 from 'node:http2'
import { connect, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { defaultLimits } from '../../../src/api/limits.ts'
import { freePorts } from '../../free-port.ts'
import { type Buildkitd, startBuildkitd } from '../fixtures/buildkitd.ts'
import { buildctl, startClient } from '../fixtures/clients.ts'
import { createWorkspace, type Workspace } from '../fixtures/context.ts'
import { startGateway } from '../fixtures/gateway.ts'
import { until } from '../fixtures/until.ts'

// A client that says nothing for long, a proxy that cuts what is idle, and a daemon that takes no PINGs.

let daemon: Buildkitd
let work: Workspace
/** A way to the daemon on which the types of frames are counted. */
let counted: { server: Server; socket: string }
const frames = { toDaemon: [] as string[], fromDaemon: [] as string[] }

const names: Readonly<Record<number, string>> = { 6: 'PING', 7: 'GOAWAY' }

/** RFC 9113, section 4.1: length in 24 bits, type, flags, 32 bits of stream, payload. */
function frameTypes(skip: number, seen: string[]): (chunk: Buffer) => void {
  let rest = Buffer.alloc(0)
  let left = skip
  return (chunk) => {
    rest = Buffer.concat([rest, chunk])
    for (;;) {
      if (left > 0) {
        const taken = Math.min(left, rest.length)
        rest = rest.subarray(taken)
        left -= taken
      }
      if (left > 0 || rest.length < 9) return
      left = 9 + rest.readUIntBE(0, 3)
      const ack = rest.readUInt8(3) === 6 && (rest.readUInt8(4) & 1) === 1
      seen.push(`${names[rest.readUInt8(3)] ?? 'other'}${ack ? ' answer' : ''}`)
    }
  }
}

beforeAll(async () => {
  ;[daemon, work] = await Promise.all([startBuildkitd(), createWorkspace()])
  const socket = join(await work.directory(), 'counted.sock')
  const server = createServer((near) => {
    const far = connect(daemon.socket)
    // The preface of 24 bytes comes before a client's first frame.
    near.on('data', frameTypes(24, frames.toDaemon))
    far.on('data', frameTypes(0, frames.fromDaemon))
    near.pipe(far).pipe(near)
    near.on('error', () => far.destroy())
    far.on('error', () => near.destroy())
  })
  await new Promise<void>((resolve) => server.listen(socket, resolve))
  counted = { server, socket }
})
afterAll(async () => {
  counted?.server.close()
  await daemon?.stop()
  await work?.remove()
})

/** haproxy that cuts connections on which nothing came for some seconds. @returns a port for each one behind it. */
async function startHaproxy(seconds: number, behind: readonly number[]) {
  const directory = await work.directory()
  const ports = await freePorts(behind.length)
  const config = join(directory, 'haproxy.cfg')
  const timeouts = ['connect', 'client', 'server'].map((what) => `  timeout ${what} ${seconds}s\n`).join('')
  const doors = behind.map((to, i) => `listen door${i}\n  bind 127.0.0.1:${ports[i]}\n  server one 127.0.0.1:${to}\n`)
  await writeFile(config, `defaults\n  mode tcp\n${timeouts}${doors.join('')}`)
  const child = spawn('/usr/sbin/haproxy', ['-db', '-f', config], { stdio: 'ignore' })
  const closed = once(child, 'close')
  for (const port of ports) {
    await until('haproxy to listen', async () => {
      const socket = connect(port, '127.0.0.1')
      const listens = await new Promise<boolean>((resolve) => {
        socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
      })
      socket.destroy()
      return listens
    })
  }
  return {
    ports,
    async stop() {
      child.kill('SIGKILL')
      await closed
      await rm(directory, { recursive: true, force: true })
    },
  }
}

test('a client that waits behind haproxy is not cut off; without PINGs it is; its daemon gets none', async () => {
  const gatewayWith = (keepalive: number) =>
    startGateway({ nodes: { one: counted }, config: { limits: { ...defaultLimits, keepalive, keepaliveTimeout: 60 } } })
  const [pinging, silent] = [await gatewayWith(1), await gatewayWith(0)]
  const haproxy = await startHaproxy(6, [pinging.port, silent.port])
  const follow = (port: number | undefined) =>
    startClient('buildctl', ['--addr', `tcp://127.0.0.1:${port}`, 'debug', 'monitor', '--completed'])
  const waits = follow(haproxy.ports[0])
  let over = false
  void waits.ended.then(() => (over = true))
  try {
    // That is the time: twice as long as haproxy waits.
    for (let n = 0; n < 2; n++) {
      const cut = await follow(haproxy.ports[1]).ended
      expect(cut.output).toContain('Unavailable')
    }
    expect(over, waits.output()).toBe(false)
    expect(waits.output()).toBe('')
    const built = await buildctl(pinging.address, await work.context('RUN true\n')).ended
    expect(built, built.output).toMatchObject({ exitCode: 0 })
    await until('the client to hear of the build', () => waits.output() !== '')
    expect(frames.toDaemon.length).toBeGreaterThan(10)
    expect(frames.toDaemon).not.toContain('PING')
    expect(frames.fromDaemon).not.toContain('GOAWAY')
  } finally {
    waits.kill('SIGTERM')
    await waits.ended
    await haproxy.stop()
    await Promise.all([pinging.close(), silent.close()])
  }
})

test('that is necessary: buildkitd ends a connection that sends PINGs', async () => {
  const session = http2.connect('http://daemon', { createConnection: () => connect(daemon.socket) })
  session.on('error', () => undefined)
  const said = once(session, 'goaway') as Promise<[code: number, last: number, reason: Buffer]>
  const timer = setInterval(() => {
    if (!session.destroyed) session.ping(() => undefined)
  }, 20)
  try {
    const [code, , reason] = await said
    expect(code).toBe(http2.constants.NGHTTP2_ENHANCE_YOUR_CALM)
    expect(reason.toString()).toBe('too_many_pings')
  } finally {
    clearInterval(timer)
    session.destroy()
  }
})
