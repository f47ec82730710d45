import { describeError } from '../../kernel/errors.ts'
import type { Logger } from '../../kernel/log.ts'
import type { ImageRecord } from './record.ts'
import { createRetries } from './retries.ts'

export interface LossesOptions {
  /** Records whose names containerd has. */
  readonly records: () => readonly ImageRecord[]
  /** The first part of an image that is not on the node, or undefined. */
  readonly missing: (digest: string) => Promise<string | undefined>
  /** The same for many images, by what is on the node at one moment. */
  readonly survey: () => Promise<(digest: string) => Promise<string | undefined>>
  /** Gets the very image again, from another node. */
  readonly pull: (record: ImageRecord) => Promise<void>
  readonly log: Logger
  /** Milliseconds. */
  readonly now?: () => number
}

/** Built images that still have their name and lost what it points to: no pod could start from them. */
export interface Losses {
  /** Looks for them and gets them back from other nodes. One look at a time; never rejects. */
  look(): Promise<void>
}

export function createLosses({ records, missing, survey, pull, log, now }: LossesOptions): Losses {
  // A pull that fails half-way leaves what is collected then, and a collection calls for the next look.
  const retries = createRetries(now)
  const keyOf = ({ name, digest }: ImageRecord): string => `${name}@${digest}`
  let running: Promise<void> | undefined
  let again = false

  const restore = async (record: ImageRecord): Promise<void> => {
    const { name, digest } = record
    const lost = await missing(digest)
    if (lost === undefined) return retries.worked(keyOf(record))
    if (!retries.isDue(keyOf(record))) return
    log.warn({ name, digest, lost }, 'parts of a built image are gone from this node, and it is pulled from others')
    retries.failed(keyOf(record))
    await pull(record)
    const still = await missing(digest)
    if (still !== undefined) {
      log.error({ name, digest, lost: still }, 'no node has what a built image lost; build it again')
      return
    }
    retries.worked(keyOf(record))
    log.info({ name, digest }, 'a built image is whole again')
  }
  const lookAtAll = async (): Promise<void> => {
    const all = records()
    retries.keep(new Set(all.map(keyOf)))
    if (all.length === 0) return
    const missingThen = await survey()
    for (const record of all) {
      if ((await missingThen(record.digest)) === undefined) retries.worked(keyOf(record))
      else await restore(record).catch((error: unknown) => notWhole(record, error))
    }
  }
  const notWhole = ({ name }: ImageRecord, error: unknown): void =>
    log.warn({ name, err: describeError(error) }, 'a built image is not whole on this node')
  const rounds = async (): Promise<void> => {
    do {
      again = false
      await lookAtAll().catch((error: unknown) =>
        log.warn({ err: describeError(error) }, 'what is missing of built images on this node is not known'),
      )
    } while (again)
    running = undefined
  }
  return {
    look() {
      again = running !== undefined
      return (running ??= rounds())
    },
  }
}
