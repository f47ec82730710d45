import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { onTestFinished } from 'vitest'
import { grpcStatus, type GrpcStatus } from '../../src/kernel/errors.ts'
import { frame, unframe } from '../../src/kernel/grpc/framing.ts'

/** An encoded answer, a status, or a stream: `begin` gets what sends an answer, and the call stays open. */
export type FakeAnswer = Uint8Array | GrpcStatus | { readonly begin: (send: (message: Uint8Array) => void) => void }

/** A gRPC server on a unix socket until the test ends. `answer` is asked with the method's path. @returns the socket. */
export async function fakeGrpc(answer: (method: string, request: Uint8Array) => FakeAnswer): Promise<string> {
  const sessions = new Set<ServerHttp2Session>()
  const respond = async (stream: ServerHttp2Stream, method: string): Promise<void> => {
    const said = answer(method, unframe(await buffer(stream)))
    if (stream.destroyed) return
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
    const status = typeof said === 'string' ? grpcStatus[said] : 0
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': String(status) }))
    if (typeof said === 'string') stream.end()
    else if (said instanceof Uint8Array) stream.end(frame(said))
    else said.begin((message) => void stream.write(frame(message)))
  }
  const server = createServer()
    .on('session', (session) => void sessions.add(session.on('close', () => sessions.delete(session))))
    .on('stream', (stream, headers) => {
      stream.on('error', () => undefined)
      // Whoever asked is gone.
      respond(stream, String(headers[':path'])).catch(() => undefined)
    })
  const directory = await mkdtemp(join(tmpdir(), 'insitu-grpc-'))
  const socket = join(directory, 's')
  await new Promise<void>((resolve) => void server.listen(socket, resolve))
  onTestFinished(async () => {
    for (const session of sessions) session.destroy()
    server.close()
    await rm(directory, { recursive: true })
  })
  return socket
}
