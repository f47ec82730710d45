import type { Hints } from '../../buildkit/hints.ts'
import type { DeliverTo } from '../../api/config.ts'
import { InsituError } from '../../kernel/errors.ts'

/** @param text of `insitu.deliver`. @throws InsituError HINT */
export function parseDeliverTo(text: string): DeliverTo {
  if (text === 'targets' || text === 'all' || text === 'none') return text
  const count = /^[1-9]\d{0,4}$/.test(text) ? Number(text) : undefined
  if (count !== undefined) return count
  throw new InsituError('HINT', `insitu.deliver cannot be "${text}"`, {
    status: 'INVALID_ARGUMENT',
    fix: 'use targets, all, none or a number of nodes',
  })
}

/** What a client asks for; what it leaves open is decided by the configuration. */
export interface DeliveryWish {
  readonly to?: DeliverTo
  /** The build fails when a node does not get the image. */
  readonly required?: boolean
}

/** @throws InsituError HINT */
export function readDelivery(hints: Hints): DeliveryWish {
  const { deliver, 'deliver-required': required } = hints
  if (required !== undefined && required !== 'true' && required !== 'false') {
    throw new InsituError('HINT', `insitu.deliver-required cannot be "${required}"`, {
      status: 'INVALID_ARGUMENT',
      fix: 'use true or false',
    })
  }
  return {
    ...(deliver === undefined ? {} : { to: parseDeliverTo(deliver) }),
    ...(required === undefined ? {} : { required: required === 'true' }),
  }
}

export interface TargetOptions {
  readonly to: DeliverTo
  readonly builder: string
  /** Nodes that will run the image, from placement. */
  readonly placed: readonly string[]
  /** Nodes that could run it: ready, and of the builder's platform. Those with the least to do first. */
  readonly able: readonly string[]
}

/** The nodes to deliver to, the builder not among them. */
export function deliveryTargets({ to, builder, placed, able }: TargetOptions): readonly string[] {
  const others = (nodes: readonly string[]): string[] => [...new Set(nodes)].filter((node) => node !== builder)
  if (to === 'none') return []
  if (to === 'targets') return others(placed)
  if (to === 'all') return others([...placed, ...able])
  return others([...placed, ...able]).slice(0, to - 1)
}
