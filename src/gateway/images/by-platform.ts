/** The platform of a node (`linux/arm64`), where it is known. */
export type PlatformOf = (node: string) => string | undefined

/**
 * Chooses some of the nodes that have an image for one that wants it. Those of its own platform come first: all copies share the
 * digest of an index, of which a node mostly has its own platform and no other.
 *
 * The best of each other platform stays among them, however many have the node's own: an emulated build wants that platform of
 * its base, and a node that was chosen for an emulated build has only what it made.
 * @param nodes the best first, as far as platforms are no matter.
 * @param own of who asks; undefined where it is not known: the order stays then.
 */
export function chooseByPlatform(
  nodes: readonly string[],
  most: number,
  own: string | undefined,
  platform: PlatformOf,
): readonly string[] {
  const byRank = Map.groupBy(nodes, (node) => rank(own, platform(node)))
  const sorted = [0, 1, 2].flatMap((place) => byRank.get(place) ?? [])
  const bests = [...Map.groupBy(sorted, platform).values()].flatMap(([best]) => best ?? [])
  const chosen = new Set([...new Set([...bests, ...sorted])].slice(0, most))
  return sorted.filter((node) => chosen.has(node))
}

/** What may be of the node's platform comes before what is not. */
function rank(own: string | undefined, other: string | undefined): number {
  if (own === undefined || other === own) return 0
  return other === undefined ? 1 : 2
}
