import type { Readable } from 'node:stream'

/** Buffers in turn: one is filled, one is held until more has come, one is given on, one is being written. */
const ring = 4

/**
 * The bytes of a stream in pieces of about `size`, each copied once into memory that is used again: TLS gives 16 KiB at a
 * time, and a promise for each, and memory that is new each time, cost more than the reading.
 * A piece is valid until three more have been taken.
 * @throws what breaks the stream, after the bytes that came before.
 */
export async function* piecesOf(body: Readable, size: number): AsyncGenerator<Buffer> {
  const buffers = Array.from({ length: ring }, () => Buffer.allocUnsafeSlow(size))
  let turn = 0
  let filled = 0
  /** Chunks that found no room: a stream gives what it has when it is already paused. */
  let rest: Buffer[] = []
  let over: { readonly error?: Error } | undefined
  let wake: () => void = () => {}

  const fill = (chunk: Buffer): void => {
    const copied = chunk.copy(buffers[turn] as Buffer, filled)
    filled += copied
    if (copied < chunk.length) rest.push(chunk.subarray(copied))
    if (filled < size) return
    body.pause()
    wake()
  }
  const end = (how: { readonly error?: Error }): void => {
    over ??= how
    wake()
  }
  const isReady = (): boolean => filled === size || over !== undefined
  body.on('data', (chunk: Buffer) => (filled < size ? fill(chunk) : void rest.push(chunk)))
  body.once('end', () => end({}))
  body.once('error', (error) => end({ error }))
  body.once('close', () => end({ error: new Error('the connection ended early') }))
  for (;;) {
    if (!isReady()) await new Promise<void>((resolve) => (wake = resolve))
    if (filled > 0) {
      const piece = (buffers[turn] as Buffer).subarray(0, filled)
      turn = (turn + 1) % ring
      filled = 0
      const left = rest
      rest = []
      for (const chunk of left) {
        if (filled < size) fill(chunk)
        else rest.push(chunk)
      }
      if (filled < size && !over) body.resume()
      yield piece
    } else if (over?.error) throw over.error
    else return
  }
}
