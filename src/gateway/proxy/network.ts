import { setTimeout as sleep } from 'node:timers/promises'
import { describeError } from '../../kernel/errors.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import type { KubernetesObject } from '../../kernel/k8s/objects.ts'
import { resources } from '../../kernel/k8s/resources.ts'
import type { Logger } from '../../kernel/log.ts'
import { exceptionsOf } from './exceptions.ts'

export interface NetworkOptions {
  readonly client: KubernetesClient
  /** The nodes as they are known now: addresses, and ranges of their pods. */
  readonly nodes: () => Iterable<{ readonly addresses?: readonly string[]; readonly podRanges?: readonly string[] }>
  readonly apiServer: string | undefined
  readonly domain: string | undefined
  readonly registries: readonly string[]
  readonly logger: Logger
  /** Milliseconds between two looks. Default 30,000. */
  readonly interval?: number
}

/** NO_PROXY as the cluster has it, followed. */
export interface ClusterExceptions {
  current(): readonly string[]
  close(): void
}

/** networking.k8s.io/v1 ServiceCIDR, as far as it is read. Clusters before 1.33 have none. */
interface ServiceCidr extends KubernetesObject {
  readonly spec?: { readonly cidrs?: readonly string[] }
}

export function followNetwork(options: NetworkOptions): ClusterExceptions {
  const { client, nodes, logger, interval = 30_000 } = options
  const ending = new AbortController()
  let services: readonly string[] = []
  let refused: string | undefined
  let held: { readonly at: number; readonly entries: readonly string[] } | undefined

  const compute = (): readonly string[] => {
    const all = [...nodes()]
    return exceptionsOf({
      ...options,
      services,
      pods: all.flatMap(({ podRanges = [] }) => podRanges),
      nodes: all.flatMap(({ addresses = [] }) => addresses),
    })
  }
  const look = async (): Promise<void> => {
    try {
      const found = await client.list<ServiceCidr>(resources.serviceCidrs)
      services = found.flatMap(({ spec }) => spec?.cidrs ?? [])
    } catch (error) {
      const why = describeError(error)
      if (why !== refused) logger.info({ err: why }, 'the ranges of services are unknown: NO_PROXY has names only')
      refused = why
    }
    held = undefined
  }
  const follow = async (): Promise<void> => {
    while (!ending.signal.aborted) {
      await look()
      await sleep(interval, undefined, { signal: ending.signal, ref: false }).catch(() => undefined)
    }
  }
  void follow()
  return {
    current() {
      // Nodes come and go: thousands of them are not joined anew for every build.
      if (!held || performance.now() - held.at > 5000) held = { at: performance.now(), entries: compute() }
      return held.entries
    },
    close: () => ending.abort(new Error('the gateway ends')),
  }
}
