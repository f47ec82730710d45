import type { Readable, Writable } from 'node:stream'

/** Bytes that leave together at the most. */
const batch = 64 << 10
/** Bytes that may wait in a socket before the other one is not read any more. */
const most = 256 << 10

/**
 * Passes on what comes, and the end. What is read in one turn of the event loop leaves with few writes: TLS gives 16 KiB
 * at a time, and what a write costs is that it wakes the other process. Nothing waits for more to come.
 */
export function passOn(from: Readable, to: Writable): void {
  let waiting = 0
  let scheduled = false
  const flush = (): void => {
    if (waiting === 0) return
    waiting = 0
    to.uncork()
  }
  from.on('data', (chunk: Buffer) => {
    if (to.destroyed) return
    if (waiting === 0) to.cork()
    waiting += chunk.length
    to.write(chunk)
    if (waiting >= batch) flush()
    else if (!scheduled) {
      scheduled = true
      setImmediate(() => {
        scheduled = false
        flush()
      })
    }
    if (to.writableLength >= most) from.pause()
  })
  to.on('drain', () => from.resume())
  from.once('end', () => to.end())
}
