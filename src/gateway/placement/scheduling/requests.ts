import type { RawContainer, RawPodSpec } from './pod-spec.ts'
import { parseQuantity } from './quantity.ts'

/** Amounts by resource: `cpu` in thousandths, everything else in its unit (bytes, pieces). Zeros are left out. */
export type Amounts = ReadonlyMap<string, number>

type Quantities = Readonly<Record<string, string>>

/** What a kubelet says it gives to a container, which a resize makes differ from the spec. */
export interface RawContainerResources {
  readonly name: string
  readonly resources?: { readonly requests?: Quantities }
  readonly allocatedResources?: Quantities
}

export interface RequestsOptions {
  /** For pods that exist; a resize is counted at the larger of what is asked for and what is given. */
  readonly statuses?: readonly RawContainerResources[] | undefined
  /** The last resize was refused for good, so the spec's wish does not count. */
  readonly resizeInfeasible?: boolean
}

export function readAmounts(quantities: Quantities | undefined): Map<string, number> {
  const amounts = new Map<string, number>()
  for (const [name, text] of Object.entries(quantities ?? {})) {
    const amount = parseQuantity(text, name === 'cpu' ? 3 : 0)
    if (amount !== 0) amounts.set(name, amount)
  }
  return amounts
}

/**
 * What the scheduler reserves for a pod: containers and sidecars together, or the largest moment of its start, or what
 * is set for the pod as a whole; overhead on top. Requests that are missing default to limits, as the API server does
 * it for pods (and not for templates). Follows component-helpers/resource PodRequests.
 */
export function podRequests(spec: RawPodSpec, options: RequestsOptions = {}): Amounts {
  const sum = new Map<string, number>()
  for (const container of spec.containers ?? []) add(sum, containerRequests(container, options))
  const sidecars = new Map<string, number>()
  const peak = new Map<string, number>()
  for (const container of spec.initContainers ?? []) {
    if (container.restartPolicy === 'Always') {
      const requests = containerRequests(container, options)
      add(sum, requests)
      add(sidecars, requests)
      raise(peak, sidecars)
    } else {
      const moment = new Map(sidecars)
      add(moment, containerRequests(container, {}))
      raise(peak, moment)
    }
  }
  raise(sum, peak)
  podLevel(sum, spec)
  add(sum, readAmounts(spec.overhead))
  return sum
}

function containerRequests(container: RawContainer, options: RequestsOptions): Map<string, number> {
  const { requests, limits } = container.resources ?? {}
  const amounts = readAmounts(limits === undefined ? requests : { ...limits, ...requests })
  const status = options.statuses?.find((s) => s.name === container.name)
  if (status?.resources === undefined) return amounts
  const given = readAmounts(status.resources.requests)
  raise(given, readAmounts(status.allocatedResources))
  if (!options.resizeInfeasible) raise(given, amounts)
  return given
}

/** Requests of the whole pod replace the sum, for the resources that can be set so. */
function podLevel(sum: Map<string, number>, { resources }: RawPodSpec): void {
  const requested = resources?.requests ?? {}
  const amounts = readAmounts(requested)
  for (const name of Object.keys(requested)) {
    if (!supported(name)) continue
    sum.delete(name)
    add(sum, new Map([[name, amounts.get(name) ?? 0]]))
  }
  for (const [name, limit] of readAmounts(resources?.limits)) {
    if (supported(name) && !(name in requested) && !sum.has(name)) sum.set(name, limit)
  }
}

const supported = (name: string): boolean => name === 'cpu' || name === 'memory' || name.startsWith('hugepages-')

function add(to: Map<string, number>, amounts: Amounts): void {
  for (const [name, amount] of amounts) if (amount !== 0) to.set(name, (to.get(name) ?? 0) + amount)
}

function raise(to: Map<string, number>, amounts: Amounts): void {
  for (const [name, amount] of amounts) if (amount > (to.get(name) ?? 0)) to.set(name, amount)
}
