import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { grpcStatus, type GrpcStatus } from '../../src/kernel/errors.ts'
import { frame, unframe } from '../../src/kernel/grpc/framing.ts'
import { fieldOf, messages, string } from '../../src/kernel/grpc/wire.ts'

/** The leases of a containerd on a socket, with content only. That they are as containerd's: test/leases-suite. */
export interface FakeLeases {
  readonly socket: string
  readonly leases: Map<string, Set<string>>
  /** Milliseconds of one change. As with bolt, each is a transaction, and they come one after the other. */
  write: number
  /** Fails the changes that are to fail. */
  fails: (method: string) => boolean
  close(): Promise<void>
}

/** Methods and field numbers: containerd's api/services/leases/v1/leases.proto. */
export async function fakeLeases(): Promise<FakeLeases> {
  const leases = new Map<string, Set<string>>()
  const sessions = new Set<ServerHttp2Session>()
  let last: Promise<unknown> = Promise.resolve()
  const of = (id: string): Set<string> | 'NOT_FOUND' => leases.get(id) ?? 'NOT_FOUND'
  const apply = (method: string, id: string, resource: string): GrpcStatus | undefined => {
    const lease = of(id)
    if (method === 'Create') {
      if (lease !== 'NOT_FOUND') return 'ALREADY_EXISTS'
      leases.set(id, new Set())
      return undefined
    }
    if (lease === 'NOT_FOUND') return lease
    if (method === 'Delete') leases.delete(id)
    else if (method === 'AddResource') lease.add(resource)
    else lease.delete(resource)
    return undefined
  }
  const answer = async (method: string, request: Uint8Array): Promise<Uint8Array | GrpcStatus> => {
    const id = string(request, 1)
    if (method === 'ListResources') {
      const lease = of(id)
      if (lease === 'NOT_FOUND') return lease
      const entry = (digest: string): Uint8Array => Buffer.concat([fieldOf(1, digest), fieldOf(2, 'content')])
      return Buffer.concat([...lease].map((digest) => fieldOf(1, entry(digest))))
    }
    if (fake.fails(method)) return 'UNAVAILABLE'
    const [resource] = messages(request, 2)
    const transaction = last.then(async () => {
      if (fake.write > 0) await sleep(fake.write)
      return apply(method, id, resource ? string(resource, 1) : '')
    })
    last = transaction
    return (await transaction) ?? new Uint8Array()
  }
  const respond = async (stream: ServerHttp2Stream, method: string): Promise<void> => {
    const said = await answer(method, unframe(await buffer(stream)))
    if (stream.destroyed) return
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
    const status = typeof said === 'string' ? grpcStatus[said] : 0
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': String(status) }))
    stream.end(typeof said === 'string' ? undefined : frame(said))
  }
  const server = createServer()
    .on('session', (session) => void sessions.add(session.on('close', () => sessions.delete(session))))
    .on('stream', (stream, headers) => {
      stream.on('error', () => undefined)
      // Whoever asked is gone.
      respond(stream, String(headers[':path']).split('/').at(-1) ?? '').catch(() => undefined)
    })
  const directory = await mkdtemp(join(tmpdir(), 'insitu-leases-'))
  const socket = join(directory, 's')
  await new Promise<void>((resolve) => void server.listen(socket, resolve))
  const fake: FakeLeases = {
    ...{ socket, leases, write: 0, fails: () => false },
    async close() {
      for (const session of sessions) session.destroy()
      server.close()
      await rm(directory, { recursive: true })
    },
  }
  return fake
}
