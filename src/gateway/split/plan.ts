import { InsituError } from '../../kernel/errors.ts'
import type { Placement } from '../placement/placer.ts'

/** Platforms that are built together on one node. */
export interface PlannedPart {
  readonly platforms: readonly string[]
  readonly placement: Placement
}

export type Plan =
  | { readonly kind: 'split'; readonly parts: readonly [PlannedPart, PlannedPart, ...PlannedPart[]] }
  /** One node builds all of it. */
  | { readonly kind: 'whole' }

/** Places platforms on one node, or on the given one. @throws InsituError when no node does them all, or it does not. */
export type PlacePlatforms = (platforms: readonly string[], nativeOnly: boolean, node?: string) => Promise<Placement>

/**
 * Groups the platforms of a build by nodes that run them natively. Those that nobody runs natively are emulated beside
 * the first group. A plan is split when there are two groups or more.
 * @param nativeOnly nothing may be emulated.
 * @throws InsituError when a platform can be built nowhere, or only be emulated and must not be.
 */
export async function planSplit(
  platforms: readonly string[],
  nativeOnly: boolean,
  place: PlacePlatforms,
): Promise<Plan> {
  const tried: Tried = async (wanted, native, node) => {
    try {
      return await place(wanted, native, node)
    } catch (error) {
      if (error instanceof InsituError) return undefined
      throw error
    }
  }
  const groups: { platforms: string[]; placement: Placement }[] = []
  const emulated: string[] = []
  for (const platform of platforms) {
    let joined = false
    for (const group of groups) {
      const placement = await tried([...group.platforms, platform], true)
      if (!placement) continue
      group.platforms.push(platform)
      group.placement = placement
      joined = true
      break
    }
    if (joined) continue
    const placement = await tried([platform], true)
    if (placement) groups.push({ platforms: [platform], placement })
    else if (nativeOnly) await place([platform], true)
    else emulated.push(platform)
  }
  const [first, second, ...rest] = groups
  if (!first || !second) return { kind: 'whole' }
  if (emulated.length > 0 && !(await hostOf(emulated, groups, tried))) {
    // No node of a group emulates them: the error says what is missing.
    await place(emulated, false)
    return { kind: 'whole' }
  }
  const nodes = new Set(groups.map(({ placement }) => placement.node))
  return nodes.size < groups.length ? { kind: 'whole' } : { kind: 'split', parts: [first, second, ...rest] }
}

/** Adds platforms to the first group whose node emulates them. */
async function hostOf(
  emulated: readonly string[],
  groups: readonly { platforms: string[]; placement: Placement }[],
  tried: Tried,
): Promise<boolean> {
  for (const group of groups) {
    const { node, reason } = group.placement
    if (!(await tried([...group.platforms, ...emulated], false, node))) continue
    group.platforms.push(...emulated)
    group.placement = { ...group.placement, reason: `${reason}; ${emulated.join(', ')} is emulated` }
    return true
  }
  return false
}

type Tried = (wanted: readonly string[], native: boolean, node?: string) => Promise<Placement | undefined>
