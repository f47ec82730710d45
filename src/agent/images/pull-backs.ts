import { describeError } from '../../kernel/errors.ts'
import type { Logger } from '../../kernel/log.ts'
import type { ImageRecord } from './record.ts'
import { createRetries } from './retries.ts'

export interface PullBacksOptions {
  /** Gets the image from another node, and gives it its name again. */
  readonly pull: (record: ImageRecord) => Promise<void>
  readonly log: Logger
  /** Milliseconds. */
  readonly now?: () => number
}

/** Gets wanted images back whose name and content are gone from this node. */
export interface PullBacks {
  /**
   * Nobody waits for it. One pull of a name at a time; what no node gives is asked for ever more rarely, however often
   * its loss is noticed.
   * @param announce says before the pull that the name will come back with this image.
   */
  begin(record: ImageRecord, announce: () => void): void
}

export function createPullBacks({ pull, log, now }: PullBacksOptions): PullBacks {
  const retries = createRetries(now)
  const pulling = new Set<string>()

  const attempt = async (record: ImageRecord, key: string): Promise<void> => {
    const { name } = record
    try {
      await pull(record)
      retries.worked(key)
    } catch (error) {
      log.warn({ name, err: describeError(error) }, 'a wanted image did not come back; it is tried again later')
    } finally {
      pulling.delete(name)
    }
  }
  return {
    begin(record, announce) {
      const { name, digest } = record
      const key = `${name}@${digest}`
      if (pulling.has(name) || !retries.isDue(key)) return
      pulling.add(name)
      retries.failed(key)
      announce()
      log.warn({ name, digest }, 'a wanted image is gone from this node and is pulled from others')
      void attempt(record, key)
    },
  }
}
