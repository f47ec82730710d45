import { setTimeout as sleep } from 'node:timers/promises'
import { describeError } from '../../kernel/errors.ts'
import type { Logger } from '../../kernel/log.ts'
import { whileOpen } from '../host/containerd-events.ts'
import type { Change, ContainerdImages } from './containerd-images.ts'
import type { Keeper } from './keeper.ts'
import type { Losses } from './losses.ts'

export interface WatchOptions {
  readonly images: ContainerdImages
  readonly keeper: Keeper
  readonly losses: Losses
  readonly log: Logger
  /** Milliseconds between two looks at everything. Default 120,000. */
  readonly interval?: number
}

/**
 * Follows containerd's events until it is closed: connects again when containerd was away, and looks at everything
 * after each connection and every few minutes, since events that nobody listened to are lost.
 * @returns what ends it.
 */
export function watchImages({ images, keeper, losses, log, interval = 120_000 }: WatchOptions): () => Promise<void> {
  const over = new AbortController()
  const failed = (error: unknown): void => log.warn({ err: describeError(error) }, 'containerd’s images are not known')
  const pause = (milliseconds: number): Promise<unknown> =>
    sleep(milliseconds, undefined, { signal: over.signal, ref: false }).catch(() => undefined)
  let containers: NodeJS.Timeout | undefined
  let lost: NodeJS.Timeout | undefined

  const onChange = (change: Change): void => {
    if (change.of === 'image') return void keeper.note(change.name).catch(failed)
    if (change.of === 'loss') {
      // A collection tells of each of its snapshots.
      lost ??= setTimeout(() => {
        lost = undefined
        void losses.look()
      }, 1000).unref()
      return
    }
    // The CRI plug-in lists a container a moment after containerd has it.
    containers ??= setTimeout(() => {
      containers = undefined
      keeper.noteContainers().catch(failed)
    }, 300).unref()
  }
  const listen = (): Promise<void> =>
    whileOpen(over.signal, async () => {
      const listening = images.subscribe(onChange)
      listening.catch(() => undefined)
      await keeper.reconcile().catch(failed)
      // Changes between the list and the moment from which events are sent.
      await Promise.race([listening.catch(() => undefined), pause(1000)])
      await keeper.reconcile().catch(failed)
      void losses.look()
      await listening.catch((error: unknown) => {
        if (!over.signal.aborted) log.info({ err: describeError(error) }, 'containerd sends no events; asking again')
      })
    })
  const repeat = async (): Promise<void> => {
    for (;;) {
      await pause(interval)
      if (over.signal.aborted) return
      await keeper.reconcile().catch(failed)
      void losses.look()
    }
  }
  const running = Promise.all([listen(), repeat()])
  return async () => {
    over.abort(new Error('the watch was ended'))
    clearTimeout(containers)
    clearTimeout(lost)
    images.close()
    await running
  }
}
