import { setTimeout as sleep } from 'node:timers/promises'
import type { RetractRequest } from '../../api/images.ts'
import type { Logger } from '../../kernel/log.ts'
import type { ContainerdImages } from './containerd-images.ts'
import type { Keeper } from './keeper.ts'

export interface RetractOptions {
  readonly keeper: Keeper
  readonly images: Pick<ContainerdImages, 'get' | 'delete'>
  /** Names that builds in progress will write. */
  readonly building: () => Promise<ReadonlySet<string>>
  readonly log: Logger
  /** Milliseconds since 1970. */
  readonly now?: () => number
}

/** Milliseconds: a daemon ends a build that was given up within a moment; another build of the name ends by itself. */
const patience = 20_000
const pause = 100

/**
 * Takes names away that a build may have written here before it failed on another node. BuildKit names an image before
 * it unpacks it, so a build that is given up may have named it without having said so; only when its daemon knows the
 * build no more is it sure what the name is. Names that are recorded or protected are put back by the keeper.
 * @returns the names that are gone.
 */
export async function retractNames(options: RetractOptions, { names, age }: RetractRequest): Promise<string[]> {
  const { keeper, images, log, now = Date.now } = options
  // containerd's times are whole seconds here.
  const since = now() - age - 1000
  const until = now() + patience
  const busy = async (): Promise<boolean> => {
    const writing = await options.building().catch(() => new Set<string>())
    return names.some((name) => writing.has(name))
  }
  while ((await busy()) && now() < until) await sleep(pause)
  const gone: string[] = []
  for (const name of names) {
    await keeper.change(async () => {
      if (keeper.memory.records.has(name) || keeper.memory.known.get(name)?.built === false) return
      const image = await images.get(name)
      if (!image || (image.updated ?? 0) < since) return
      await images.delete(name)
      gone.push(name)
      log.info({ name, digest: image.digest }, 'an image of a build that failed on another node lost its name')
    })
    await keeper.note(name)
  }
  return gone
}
