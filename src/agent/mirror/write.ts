import type { Writable } from 'node:stream'

/**
 * Writes one piece after the other: each is asked for while the one before is on its way.
 * @throws what the pieces throw, or an error when the reader is gone; the stream is destroyed then, and not ended otherwise.
 */
export async function writeAll(pieces: AsyncIterable<Buffer>, to: Writable): Promise<void> {
  let leave: (() => void) | undefined
  const gone = (): Error => new Error('the reader is gone')
  const closed = (): void => leave?.()
  /** Waits, but not for a reader that is gone. */
  const unlessGone = <T>(waited: Promise<T>): Promise<T> =>
    new Promise((resolve, reject) => {
      if (to.destroyed) reject(gone())
      leave = () => reject(gone())
      waited.then(resolve, reject)
    })
  const write = (piece: Buffer): Promise<void> =>
    new Promise((resolve, reject) => {
      to.write(piece, (error) => {
        if (error) reject(error)
        else resolve()
      })
    })
  const iterator = pieces[Symbol.asyncIterator]()
  let writing: Promise<void> | undefined
  to.once('close', closed)
  try {
    for (;;) {
      const next = await unlessGone(iterator.next())
      if (writing) await unlessGone(writing)
      if (next.done) return
      writing = write(next.value)
      writing.catch(() => undefined)
    }
  } catch (error) {
    to.destroy()
    throw error
  } finally {
    to.off('close', closed)
    // One that waits for its next piece ends when that comes.
    void iterator.return?.()?.catch(() => undefined)
  }
}
