import { once } from 'node:events'
import { create, toBinary } from '@bufbuild/protobuf'
import * as http2 from 'node:http2'
import { type AddressInfo, connect } from 'node:net'
import { expect, test } from 'vitest'
import { transparentGateway } from '../../../src/api/config.ts'
import { SolveRequestSchema, StatusRequestSchema } from '../../../src/buildkit/gen/control_pb.ts'
import { createFixedDirectory } from '../../../src/gateway/directory/fixed.ts'
import { createGateway } from '../../../src/gateway/gateway.ts'
import { createFixedPlacer } from '../../../src/gateway/placement/fixed.ts'
import { frame } from '../../../src/kernel/grpc/framing.ts'
import { createLogger } from '../../../src/kernel/log.ts'
import { startBuildkitd } from '../fixtures/buildkitd.ts'
import { buildctl } from '../fixtures/clients.ts'
import { createWorkspace } from '../fixtures/context.ts'
import { startGateway } from '../fixtures/gateway.ts'
import { processWith } from '../fixtures/processes.ts'
import { until } from '../fixtures/until.ts'

const prefix = '/moby.buildkit.v1.Control/'

/** A daemon whose calls the test answers one by one. */
async function startDaemon() {
  const calls = new Map<string, http2.ServerHttp2Stream>()
  const sessions: http2.ServerHttp2Session[] = []
  const server = http2.createServer()
  server.on('session', (session) => sessions.push(session))
  server.on('stream', (stream, headers) => {
    stream.on('error', () => undefined)
    stream.resume()
    calls.set(String(headers[':path']).slice(prefix.length), stream)
  })
  const port = await new Promise<number>((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port))
  })
  return {
    port,
    calls,
    finish(method: string): void {
      const stream = calls.get(method)
      stream?.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
      stream?.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
      stream?.end(frame(new Uint8Array()))
    },
    close(): void {
      for (const session of sessions) session.destroy()
      server.close()
    },
  }
}

test('a drain ends when the build is over for its client too: with its progress', async () => {
  const daemon = await startDaemon()
  const directory = createFixedDirectory([{ name: 'a', address: { host: '127.0.0.1', port: daemon.port } }])
  const gateway = await createGateway({
    listen: [{ kind: 'tcp', host: '127.0.0.1', port: 0 }],
    directory,
    placer: createFixedPlacer({ directory, running: () => 0 }),
    config: transparentGateway,
    logger: createLogger({ level: 'silent' }),
  })
  const address = gateway.addresses[0]
  const port = address?.kind === 'tcp' ? address.port : 0
  const client = http2.connect('http://door', { createConnection: () => connect(port, '127.0.0.1') })
  const call = (method: string, body: Uint8Array): Promise<unknown> => {
    const stream = client.request({
      ':method': 'POST',
      ':path': prefix + method,
      'content-type': 'application/grpc',
      te: 'trailers',
    })
    stream.on('error', () => undefined)
    stream.resume()
    stream.end(frame(body))
    return new Promise((resolve) => {
      let status: unknown
      stream.on('response', (headers) => (status ??= headers['grpc-status']))
      stream.on('trailers', (headers) => (status ??= headers['grpc-status']))
      stream.on('close', () => resolve(status))
    })
  }
  try {
    const request = create(SolveRequestSchema, { ref: 'r1', frontend: 'dockerfile.v0' })
    const solve = call('Solve', toBinary(SolveRequestSchema, request))
    const progress = call('Status', toBinary(StatusRequestSchema, create(StatusRequestSchema, { ref: 'r1' })))
    await until('both calls', () => daemon.calls.has('Solve') && daemon.calls.has('Status'))

    let over = false
    const drained = gateway.drain(60_000).then(async (left) => {
      over = true
      await gateway.close()
      return left
    })
    daemon.finish('Solve')
    expect(await solve).toBe('0')
    expect(over).toBe(false)
    daemon.finish('Status')
    expect(await progress).toBe('0')
    expect(await drained).toBe(0)
  } finally {
    client.destroy()
    await gateway.close()
    daemon.close()
  }
})

test('a client that is connected may still build, a new one only while the others settle', async () => {
  const daemon = await startBuildkitd()
  const work = await createWorkspace()
  const gateway = await startGateway({ nodes: { one: daemon } })
  const context = await work.context('RUN true\n')
  try {
    // As a client between its first question and its build.
    const early = http2.connect('http://door', { createConnection: () => connect(gateway.port, '127.0.0.1') })
    const goaway = once(early, 'goaway')
    await once(early, 'remoteSettings')
    const marker = `6${Date.now()}`
    const running = buildctl(gateway.address, await work.context(`RUN sleep ${marker} || true\n`))
    const step = await until('a step to run', () => processWith('sleep', marker))
    const drained = gateway.drain(60_000, 5000)
    expect(gateway.refusing()).toContain('stopping')
    const settling = await buildctl(gateway.address, context).ended
    expect(settling, settling.output).toMatchObject({ exitCode: 0 })
    // It has nothing open: it is told to go elsewhere, and not cut off.
    const [code] = (await goaway) as [number]
    expect(code).toBe(http2.constants.NGHTTP2_NO_ERROR)
    const late = await buildctl(gateway.address, context).ended
    expect(late.exitCode).toBe(1)
    expect(late.output).toContain('this gateway is stopping; run the build again')
    process.kill(step, 'SIGTERM')
    expect(await running.ended).toMatchObject({ exitCode: 0 })
    expect(await drained).toBe(0)
  } finally {
    await gateway.close()
    await daemon.stop()
    await work.remove()
  }
})
