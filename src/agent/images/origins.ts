import type { ImageOrigin } from '../../api/built-on.ts'
import type { BuiltImage } from '../../api/images.ts'
import { describeError } from '../../kernel/errors.ts'
import type { Logger } from '../../kernel/log.ts'
import type { Keeper } from './keeper.ts'
import type { Provenance } from './provenance.ts'

/** Remembers what images were built on for as long as the node has them: the daemon forgets its builds after two days. */
export interface Origins {
  /** Reads the provenance of a build that has just ended and keeps it with its images. Nobody waits for it. */
  note(images: readonly BuiltImage[], ref: string): void
  /** Of every built image that the node has, when everything noted so far has been read. */
  list(): Promise<readonly ImageOrigin[]>
}

export interface OriginsOptions {
  readonly keeper: Keeper
  /** @throws anything: then the bases are not known. */
  readonly read: (ref: string) => Promise<Provenance | undefined>
  readonly log: Logger
}

export function createOrigins({ keeper, read, log }: OriginsOptions): Origins {
  const { memory, current } = keeper
  const reading = new Set<Promise<void>>()
  const take = async (images: readonly BuiltImage[], ref: string): Promise<void> => {
    try {
      const origin = await read(ref)
      if (origin === undefined) return
      await keeper.change(() => {
        for (const { name, digest } of images) {
          const record = memory.records.get(name)
          if (record?.digest === digest) memory.records.set(name, { ...record, origin })
        }
        keeper.revise(false)
      })
    } catch (error) {
      log.warn({ ref, err: describeError(error) }, 'what an image was built on is not known')
    }
  }
  return {
    note(images, ref) {
      const one: Promise<void> = take(images, ref).finally(() => reading.delete(one))
      reading.add(one)
    },
    async list() {
      await Promise.all(reading)
      return [...memory.records.values()]
        .filter(({ name, digest }) => current.get(name)?.digest === digest)
        .map(({ name, digest, origin }) => ({ name, digest, owner: origin?.owner, bases: origin?.bases }))
    },
  }
}
