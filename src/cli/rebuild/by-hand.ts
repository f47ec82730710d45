import type { NodeOrigins } from '../../api/built-on.ts'
import type { Base, Image } from './images.ts'
import { lookAt, makersOf, type Moved, type Question, type RebuildPlan } from './plan.ts'

/** An image that nodes have and that no Build makes. */
export interface HandMade {
  /** Normalised. */
  readonly name: string
  readonly digest: string
  /** The nodes that have it. */
  readonly nodes: readonly string[]
  /** Undefined: nobody knows. */
  readonly bases: readonly Base[] | undefined
}

/**
 * What nodes have that was built without a Build, or by one that is gone.
 * @param made names that Builds make.
 * @param namespace only what its service accounts have built; undefined: everything.
 */
export function handMade(
  reports: readonly NodeOrigins[],
  made: ReadonlySet<string>,
  namespace: string | undefined,
): HandMade[] {
  const known = new Map<string, { nodes: string[]; owner?: string | undefined; bases?: Base[] | undefined }>()
  for (const { node, images } of reports) {
    for (const { name, digest, owner, bases } of images) {
      if (made.has(name)) continue
      const entry = known.get(`${name}@${digest}`) ?? { nodes: [] }
      entry.nodes.push(node)
      entry.owner ??= owner
      // Those of every platform, where several nodes have built it.
      if (bases) entry.bases = [...(entry.bases ?? []), ...bases]
      known.set(`${name}@${digest}`, entry)
    }
  }
  return [...known]
    .filter(([, { owner }]) => namespace === undefined || owner?.startsWith(`service-account ${namespace}/`) === true)
    .map(([key, { nodes, bases }]) => ({
      name: key.slice(0, key.lastIndexOf('@')),
      digest: key.slice(key.lastIndexOf('@') + 1),
      nodes: nodes.toSorted(),
      bases: bases && [...new Map(bases.map((base) => [`${base.name}@${base.digest}`, base])).values()],
    }))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
}

/** What a report says of one. */
export interface HandMadeResult {
  readonly image: HandMade
  readonly result: 'skipped' | 'current'
  readonly reason: string | undefined
  readonly because: readonly Moved[]
}

/** Those that use what the question is about. What is built on a step of the plan is behind as soon as that is done. */
export function planByHand(
  found: readonly HandMade[],
  { steps }: RebuildPlan,
  images: readonly Image[],
  question: Question,
): HandMadeResult[] {
  const makers = makersOf(images)
  const anew = new Set(steps.flatMap(({ image }) => image.names))
  return found.flatMap((image): HandMadeResult[] => {
    const { moved, skip, uses } = lookAt(
      { bases: image.bases, cannot: undefined },
      question.base,
      makers,
      question.digests,
    )
    const soon = (image.bases ?? []).filter(({ name }) => anew.has(name) && !moved.some((one) => one.name === name))
    const because = [...moved, ...soon.map(({ name, digest }): Moved => ({ name, from: digest, to: undefined }))]
    if (because.length > 0) return [{ image, result: 'skipped', reason: byHand(image), because }]
    if (skip !== undefined) return [{ image, result: 'skipped', reason: skip, because }]
    return uses ? [{ image, result: 'current', reason: undefined, because }] : []
  })
}

/** Why it is skipped, and how to get it anew. */
const byHand = ({ name }: HandMade): string =>
  'built by hand: nothing says how to build it again; where its sources are: ' +
  `buildctl build --frontend dockerfile.v0 --local context=. --local dockerfile=. --output type=image,name=${name}`
