import { setTimeout as sleep } from 'node:timers/promises'
import { describeError } from '../../kernel/errors.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import { isAlreadyExists, isConflict } from '../../kernel/k8s/failure.ts'
import type { KubernetesObject } from '../../kernel/k8s/objects.ts'
import { resources } from '../../kernel/k8s/resources.ts'
import type { Logger } from '../../kernel/log.ts'

export interface ElectionOptions {
  readonly client: KubernetesClient
  readonly namespace: string
  /** Of the Lease. */
  readonly name: string
  /** Ours, e.g. the pod's name. */
  readonly identity: string
  readonly logger: Logger
  /** Called when this becomes or stops being the leader. */
  readonly onChange?: (leads: boolean) => void
  /** Milliseconds that a leader may be silent before another takes over. Default 15,000. */
  readonly duration?: number
  readonly now?: () => number
}

export interface Election {
  /** Whether this may act now. It ends by itself when the Lease could not be renewed in time. */
  leads(): boolean
  /** Gives the Lease back, so that another need not wait. */
  stop(): Promise<void>
}

interface Lease extends KubernetesObject {
  readonly spec?: {
    readonly holderIdentity?: string
    readonly leaseDurationSeconds?: number
    readonly acquireTime?: string
    readonly renewTime?: string
    readonly leaseTransitions?: number
  }
}

/**
 * Leader election with a Lease, as Kubernetes' own components do it: what counts is how long the holder's entry has
 * not changed by our own clock, never a comparison of two machines' clocks. The loser of a race gets a conflict.
 */
export function createElection(options: ElectionOptions): Election {
  const { client, namespace, name, identity, logger, duration = 15_000, now = Date.now } = options
  const stopped = new AbortController()
  const ref = { namespace, name }
  let seen: { readonly text: string; readonly at: number } | undefined
  let until = 0
  let led = false

  const tell = (): void => {
    const leads = now() < until
    if (leads === led) return
    led = leads
    logger.info({ identity, leads }, leads ? 'this replica leads' : 'this replica leads no longer')
    options.onChange?.(leads)
  }

  async function attempt(): Promise<void> {
    const begun = now()
    const lease = await client.find<Lease>(resources.leases, ref, { timeout: duration / 3 })
    const holder = lease?.spec?.holderIdentity
    const text = JSON.stringify(lease?.spec ?? {})
    if (seen?.text !== text) seen = { text, at: begun }
    const free = !holder || holder === identity || begun - seen.at > (lease?.spec?.leaseDurationSeconds ?? 15) * 1000
    if (!free) return
    const time = `${new Date(begun).toISOString().slice(0, -1)}000Z`
    const spec = {
      holderIdentity: identity,
      leaseDurationSeconds: Math.ceil(duration / 1000),
      acquireTime: holder === identity ? lease?.spec?.acquireTime : time,
      renewTime: time,
      leaseTransitions: (lease?.spec?.leaseTransitions ?? 0) + (holder === identity ? 0 : 1),
    }
    const body = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', ...lease, spec }
    const options = { timeout: duration / 3 }
    if (lease) await client.replace(resources.leases, ref, body, options)
    else await client.create(resources.leases, { namespace }, { ...body, metadata: { name } }, options)
    // We stop acting well before another may begin.
    until = begun + (duration * 2) / 3
  }

  async function run(): Promise<void> {
    while (!stopped.signal.aborted) {
      try {
        await attempt()
      } catch (error) {
        if (!isConflict(error) && !isAlreadyExists(error)) logger.warn(`the Lease ${name}: ${describeError(error)}`)
      }
      tell()
      await sleep(duration / 6, undefined, { signal: stopped.signal }).catch(() => undefined)
    }
  }
  const running = run()

  return {
    leads: () => now() < until,
    async stop() {
      stopped.abort(new Error('stopped'))
      await running
      if (now() >= until) return
      until = 0
      tell()
      const lease = await client.find<Lease>(resources.leases, ref).catch(() => undefined)
      if (lease?.spec?.holderIdentity !== identity) return
      await client
        .replace(resources.leases, ref, { ...lease, spec: { ...lease.spec, holderIdentity: '' } })
        .catch(() => undefined)
    },
  }
}
