import { setTimeout as sleep } from 'node:timers/promises'
import { describeError } from '../kernel/errors.ts'
import type { KubernetesClient } from '../kernel/k8s/client.ts'
import type { Logger } from '../kernel/log.ts'
import { createActor } from './act.ts'
import { createCache } from './cache.ts'
import { createElection } from './lease/election.ts'
import { type Plan, plan } from './plan.ts'
import type { Limits } from './queue/turns.ts'

export interface ControllerOptions {
  readonly client: KubernetesClient
  /** Where insitu lives. */
  readonly namespace: string
  /** Of this replica, for the Lease. */
  readonly identity: string
  /** The image of the pods that build: our own. */
  readonly image: string
  readonly limits: Limits
  readonly logger: Logger
  readonly now?: () => Date
  /** Milliseconds; see ElectionOptions. */
  readonly leaseDuration?: number
  /** Writes at a time. Default 8. */
  readonly atOnce?: number
}

export interface Controller {
  /** Why it is not ready, for /readyz. */
  notReady(): string | undefined
  leads(): boolean
  /** Settles when it has stopped by itself because of a fault in this program. */
  readonly failed: Promise<unknown>
  stop(): Promise<void>
}

export const leaseName = 'insitu-controller'

/**
 * Brings Builds to their end. It remembers nothing: every look starts from the objects, and every write can be done
 * again, so that it may die at any point and another goes on.
 */
export function createController(options: ControllerOptions): Controller {
  const { client, namespace, logger, limits, now = () => new Date(), atOnce = 8 } = options
  const stopped = new AbortController()
  let wake = Promise.withResolvers<void>()
  const onChange = (): void => wake.resolve()
  const cache = createCache({ client, namespace, logger, onChange })
  const election = createElection({
    ...{ client, namespace, name: leaseName, identity: options.identity, logger, onChange },
    ...(options.leaseDuration === undefined ? {} : { duration: options.leaseDuration }),
  })
  const act = createActor({ client, namespace, image: options.image, logger, now, perNode: limits.perNode })

  const mayAct = (): boolean => !stopped.signal.aborted && election.leads()

  /** Each failure is said once and not at every look. */
  function tell(failures: Plan['failures'], before: ReadonlySet<string>): ReadonlySet<string> {
    const all = new Set<string>()
    for (const { build, error } of failures) {
      const name = `${build.metadata?.namespace}/${build.metadata?.name}`
      const said = `nothing is done for this Build, which is a fault in insitu: ${describeError(error)}`
      const key = `${name}: ${said}`
      if (!before.has(key)) logger.error({ build: name }, said)
      all.add(key)
    }
    return all
  }

  async function work(): Promise<void> {
    let told: ReadonlySet<string> = new Set()
    await cache.whenSynced(stopped.signal)
    while (!stopped.signal.aborted) {
      wake = Promise.withResolvers<void>()
      let again = 5
      if (mayAct()) {
        const planned = plan(cache.view(), limits, now())
        again = planned.again
        told = tell(planned.failures, told)
        const queue = planned.work[Symbol.iterator]()
        const one = async (): Promise<void> => {
          for (const actions of { [Symbol.iterator]: () => queue }) {
            for (const action of actions) {
              if (!mayAct()) return
              await act(action)
            }
          }
        }
        await Promise.all(Array.from({ length: atOnce }, one))
      }
      const timer = new AbortController()
      await Promise.race([
        wake.promise,
        sleep(again * 1000, undefined, { signal: AbortSignal.any([timer.signal, stopped.signal]) }).catch(
          () => undefined,
        ),
      ])
      timer.abort(new Error('awake'))
      // What comes together is looked at once.
      await sleep(50, undefined, { signal: stopped.signal }).catch(() => undefined)
    }
  }
  const running = work().then(
    () => undefined,
    (error: unknown) => {
      if (stopped.signal.aborted) return undefined
      logger.error(`the controller failed: ${describeError(error)}`)
      return error
    },
  )

  return {
    notReady: () => (cache.synced ? undefined : 'the Builds of the cluster have not been read yet'),
    leads: () => election.leads(),
    failed: running.then((error) => (error === undefined ? new Promise(() => undefined) : error)),
    async stop() {
      stopped.abort(new Error('stopped'))
      onChange()
      await running
      await election.stop()
      await cache.stop()
    },
  }
}
