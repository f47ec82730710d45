import type { BuiltImage, PullProgress, PullRequest } from '../../api/images.ts'
import { describeError, InsituError } from '../../kernel/errors.ts'
import type { Logger } from '../../kernel/log.ts'
import type { Delivery } from '../mirror/deliveries.ts'
import type { Puller } from './puller.ts'

export interface PullsOptions {
  readonly pull: Puller
  /** What a name points to in the node's containerd; undefined when it has no such image. */
  readonly digestOf: (name: string) => Promise<string | undefined>
  /** Told before the image comes, so that its name may change, and when it is here, so that it is recorded. */
  readonly arriving: (image: BuiltImage) => Promise<void>
  /** Tells the mirror where the image comes from, and counts what comes. */
  readonly begin: (request: PullRequest) => Delivery
  /** Bytes of the image, as soon as they are known. */
  readonly sizeOf: (digest: string) => number | undefined
  readonly log: Logger
  /** Milliseconds between two lines of progress. Default 500. */
  readonly pace?: number
}

export interface Pulls {
  /** Brings an image here, telling how far it is. Never rejects: the last line is `done` or `error`. */
  pull(request: PullRequest, onProgress: (line: PullProgress) => void, signal: AbortSignal): Promise<void>
  /** Gives all of them up. */
  stop(): Promise<void>
}

interface Running {
  readonly bytes: Promise<number>
  readonly delivery: Delivery
  readonly abort: AbortController
  users: number
}

/** Gateways that do not know of each other may ask for the same image: it is pulled once, until nobody wants it. */
export function createPulls(options: PullsOptions): Pulls {
  const { log, sizeOf, pace = 500 } = options
  const running = new Map<string, Running>()

  const bring = async (image: BuiltImage, delivery: Delivery, signal: AbortSignal): Promise<number> => {
    await options.arriving(image)
    if ((await options.digestOf(image.name)) !== image.digest) {
      await options.pull(image.name, signal)
      const found = await options.digestOf(image.name)
      if (found !== image.digest) {
        throw new InsituError(
          'DELIVERY_DIGEST',
          `${image.name} came as ${found ?? 'nothing'} and not as ${image.digest}: another build of it is newer`,
          { status: 'ABORTED' },
        )
      }
    }
    await options.arriving(image)
    return delivery.received()
  }
  const join = (request: PullRequest): Running => {
    const { image } = request
    const key = `${image.name} ${image.digest} ${image.version}`
    const known = running.get(key)
    // One that was given up goes on until containerd has heard of it, and ends with an error.
    if (known && !known.abort.signal.aborted) return known
    const abort = new AbortController()
    const delivery = options.begin(request)
    const bytes = bring(image, delivery, abort.signal).finally(() => {
      if (running.get(key) === one) running.delete(key)
      delivery.end()
    })
    bytes.catch(() => undefined)
    const one: Running = { bytes, delivery, abort, users: 0 }
    running.set(key, one)
    return one
  }

  return {
    async pull(request, onProgress, signal) {
      const { image } = request
      const one = join(request)
      one.users += 1
      const timer = setInterval(() => {
        onProgress({ bytes: one.delivery.received(), total: sizeOf(image.digest) })
      }, pace)
      const gone = Promise.withResolvers<never>()
      const leave = (): void => gone.reject(signal.reason)
      signal.addEventListener('abort', leave, { once: true })
      try {
        const bytes = await Promise.race([one.bytes, gone.promise])
        onProgress({ done: true, bytes })
        log.info({ image, bytes }, 'an image was delivered to this node')
      } catch (error) {
        onProgress({ error: describeError(error) })
        log.warn({ image, err: describeError(error) }, 'an image was not delivered to this node')
      } finally {
        clearInterval(timer)
        signal.removeEventListener('abort', leave)
        one.users -= 1
        if (one.users === 0) one.abort.abort(new Error('nobody waits for the image any more'))
      }
    },
    async stop() {
      for (const { abort } of running.values()) abort.abort(new Error('the agent stops'))
      await Promise.allSettled([...running.values()].map(({ bytes }) => bytes))
    },
  }
}
