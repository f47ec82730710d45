import { vi } from 'vitest'
import { timestampHeader } from '../../src/buildkit/history.ts'
import type { BuildNode } from '../../src/gateway/directory/directory.ts'
import type { Http2Stream } from '../../src/gateway/http2/stream.ts'
import type { Caller } from '../../src/gateway/listener/caller.ts'
import { createBlobs } from '../../src/gateway/history/blobs.ts'
import { createDeleted } from '../../src/gateway/history/deleted.ts'
import { admitAll } from '../../src/gateway/policy/admission.ts'
import type { Call, RelayContext } from '../../src/gateway/relay/context.ts'
import { header, type RawHeaders } from '../../src/gateway/relay/headers.ts'
import type { Upstream } from '../../src/gateway/relay/upstream.ts'
import { createDeframer } from '../../src/kernel/grpc/deframe.ts'
import { frame } from '../../src/kernel/grpc/framing.ts'
import { statusOf, statusTrailers } from '../../src/kernel/grpc/status.ts'
import { createLogger } from '../../src/kernel/log.ts'
import { looseStream } from './loose-stream.ts'

/** What a daemon answers to a call; what it throws is its status. */
export type FakeDaemon = (path: string, request: Buffer) => Iterable<Uint8Array> | AsyncIterable<Uint8Array>

export interface FakeClient {
  readonly call: Call
  readonly stream: Http2Stream
  /** What the client has got. */
  readonly messages: Buffer[]
  /** Ends the call. */
  readonly cancel: () => void
}

const unframed = (body: Uint8Array): Buffer => createDeframer(1 << 30).push(Buffer.from(body))[0] ?? Buffer.alloc(0)

function fakeCall(raw: RawHeaders, daemon: FakeDaemon, clock: () => Date): Http2Stream {
  const stream = looseStream()
  const answer = async (request: Buffer): Promise<void> => {
    let trailers: Record<string, string> = { 'grpc-status': '0' }
    stream.emit('response', [':status', '200', timestampHeader, clock().toISOString()], false)
    try {
      for await (const message of daemon(header(raw, ':path') ?? '', request)) {
        stream.received(frame(message))
        await new Promise(setImmediate)
        if (stream.closed) return
      }
    } catch (error) {
      trailers = statusTrailers(statusOf(error))
    }
    if (stream.closed) return
    stream.emit('trailers', Object.entries(trailers).flat())
    stream.receivedEnd()
    stream.finish(0)
  }
  stream.end = (chunk) => void setImmediate(() => void answer(unframed(chunk ?? Buffer.alloc(0))))
  return stream
}

/** What answers to clients are made of, with daemons whose words the test chooses. */
export function fakeContext(daemons: readonly string[], more: Partial<RelayContext> = {}): RelayContext {
  const nodes = daemons.map((name) => ({ name, ready: true }) as BuildNode)
  return {
    directory: { nodes: () => nodes, node: (name: string) => nodes.find((node) => node.name === name) },
    admission: { ...admitAll, administrator: () => false },
    logger: createLogger({ level: 'silent' }),
    now: () => new Date(),
    blobs: createBlobs(),
    deleted: createDeleted(),
    patience: undefined,
    ...more,
  } as unknown as RelayContext
}

interface FakeCall {
  readonly path: string
  readonly request: Uint8Array
  readonly caller: Caller
  /** Milliseconds until the client has read a message. */
  readonly slow?: number | undefined
  /** The daemons' clock. */
  readonly clock?: () => Date
}

/** A client's call to the gateway. */
export function fakeClient(daemons: Readonly<Record<string, FakeDaemon>>, fake: FakeCall): FakeClient {
  const { path, request, caller, slow, clock = () => new Date() } = fake
  const gone = new AbortController()
  const stream = looseStream()
  const messages: Buffer[] = []
  const end = stream.end.bind(stream)
  stream.write = (chunk) => {
    messages.push(unframed(chunk))
    if (slow !== undefined) setTimeout(() => stream.emit('drain'), slow)
    return slow === undefined
  }
  stream.pass = (chunk) => stream.write(chunk)
  stream.end = (chunk, trailers) => {
    if (chunk) messages.push(unframed(chunk))
    end(undefined, trailers)
  }
  stream.received(frame(request))
  stream.receivedEnd()
  const upstream = (node: string): Upstream => ({
    ...{ node, lost: () => undefined, whyLost: () => Promise.resolve(undefined) },
    request: (raw) => fakeCall(raw, daemons[node] ?? (() => []), clock),
  })
  const call: Call = {
    ...{ stream, path, caller, raw: [':path', path], refusal: undefined, signal: gone.signal },
    messages: { each: 1 << 20, take: () => undefined, give: () => undefined },
    upstreams: { to: ({ name }) => Promise.resolve(upstream(name)), latest: () => undefined, close: () => undefined },
  }
  return { call, stream, messages, cancel: () => gone.abort(new Error('the client is gone')) }
}

/** Waits without waiting: timers run at once, in their order. */
export async function inNoTime<T>(work: () => Promise<T>): Promise<T> {
  const ended = new AbortController()
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  try {
    const done = work().finally(() => ended.abort())
    done.catch(() => undefined)
    while (!ended.signal.aborted) await vi.advanceTimersByTimeAsync(50)
    return await done
  } finally {
    vi.useRealTimers()
  }
}
