import { setTimeout as sleep } from 'node:timers/promises'
import type { GrpcConnection } from '../../kernel/grpc/connection.ts'
import { fieldOf, messages, string } from '../../kernel/grpc/wire.ts'
import { callOf } from './containerd-call.ts'

export interface EventsOptions {
  readonly connection: GrpcConnection
  readonly namespace: string
  /** Regular expressions of Go; an event comes when one of them matches its topic. */
  readonly topics: readonly string[]
  /** @param event the encoded event, which its topic says how to read. */
  readonly onEvent: (topic: string, event: Uint8Array | undefined) => void
}

/** The longest a timer can wait. */
const forever = 2 ** 31 - 1

/**
 * containerd's events, until the connection is closed. Field numbers: its api/services/events/v1 and types/event.proto.
 * @throws InsituError GRPC_CALL_FAILED when containerd goes away.
 */
export async function followEvents({ connection, namespace, topics, onEvent }: EventsOptions): Promise<void> {
  const filters = topics.map((topic) => fieldOf(1, `namespace==${namespace},topic~="${topic}"`))
  await connection.stream(
    { ...callOf('events.v1.Events/Subscribe', namespace), request: Buffer.concat(filters), timeout: forever },
    (envelope) => {
      const [event] = messages(envelope, 4)
      onEvent(string(envelope, 3), event && messages(event, 2)[0])
    },
  )
}

/** Makes an attempt after the other: soon after one that lasted, and less and less often while they end at once. */
export async function whileOpen(signal: AbortSignal, attempt: () => Promise<void>): Promise<void> {
  for (let wait = 100; !signal.aborted; wait = Math.min(wait * 2, 5000)) {
    const begun = performance.now()
    await attempt()
    if (performance.now() - begun > 10_000) wait = 100
    await sleep(wait, undefined, { signal, ref: false }).catch(() => undefined)
  }
}
