import { type BaseQuery, matchesBase } from './base-query.ts'
import type { Base, Image } from './images.ts'

/** What a name of a base stands for now. */
export type Current = { readonly digest: string } | { readonly error: string }

export interface Moved {
  /** Normalised. */
  readonly name: string
  /** What the image was built on. */
  readonly from: string | undefined
  /** What it is to be built on; undefined: what another step makes of it. */
  readonly to: string | undefined
}

export interface Step {
  readonly image: Image
  /** 0 for those that wait for no other. */
  readonly level: number
  /** Steps, by the id of their image, that come first. */
  readonly after: readonly string[]
  readonly because: readonly Moved[]
}

export interface Skip {
  readonly image: Image
  readonly reason: string
  /** A registry did not say what a base is now. */
  readonly unknown: boolean
}

export interface RebuildPlan {
  /** Every one after those it waits for. */
  readonly steps: readonly Step[]
  readonly skipped: readonly Skip[]
  /** Images that use the base and are built on what it is now. */
  readonly current: readonly Image[]
}

export interface Question {
  /** Undefined: every base that has moved. */
  readonly base: BaseQuery | undefined
  /** By normalised name: what registries say, for names that no image makes. */
  readonly digests: ReadonlyMap<string, Current>
  /** Whether an image may be rebuilt; others count as bases all the same. */
  readonly selected?: (image: Image) => boolean
}

/** The image that makes a name. */
export const makersOf = (images: readonly Image[]): ReadonlyMap<string, Image> =>
  new Map(images.flatMap((image) => image.names.map((name) => [name, image] as const)))

/** Names of bases that a registry has to be asked about. */
export function askedNames(
  images: readonly Image[],
  base: BaseQuery | undefined,
  others: readonly Pick<Image, 'bases'>[] = [],
): string[] {
  const makers = makersOf(images)
  const used = [...images, ...others].flatMap((image) => image.bases ?? [])
  return [
    ...new Set(
      used.filter((one) => !makers.has(one.name) && (!base || matchesBase(base, one))).map(({ name }) => name),
    ),
  ]
}

/** What is to be rebuilt, in which order, and what is not. */
export function planRebuild(images: readonly Image[], question: Question): RebuildPlan {
  const { base, digests, selected = () => true } = question
  const makers = makersOf(images)
  const skipped: Skip[] = []
  const current: Image[] = []
  const seeds = new Map<Image, readonly Moved[]>()
  for (const image of images.filter(selected)) {
    const found = lookAt(image, base, makers, digests)
    const { unknown } = found
    if (found.moved.length > 0 && image.cannot !== undefined) skipped.push({ image, reason: image.cannot, unknown })
    else if (found.moved.length > 0) seeds.set(image, found.moved)
    else if (found.skip !== undefined) skipped.push({ image, reason: found.skip, unknown })
    else if (found.uses) current.push(image)
  }
  const because = withUsers(images, seeds, selected, skipped)
  const { order, left } = sort(because, makers)
  const reasons = new Map(left.map((image) => [image, stuck(image, left, makers)]))
  return {
    steps: order.map(({ image, level, after }) => ({ image, level, after, because: because.get(image) ?? [] })),
    skipped: [...skipped, ...[...reasons].map(([image, reason]) => ({ image, reason, unknown: false }))],
    current: current.filter((image) => !because.has(image) && !skipped.some((one) => one.image === image)),
  }
}

/** What of an image's bases has moved, as far as the question is about them. */
export function lookAt(
  image: Pick<Image, 'bases' | 'cannot'>,
  query: BaseQuery | undefined,
  makers: ReadonlyMap<string, Image>,
  digests: ReadonlyMap<string, Current>,
): {
  readonly moved: readonly Moved[]
  readonly skip: string | undefined
  readonly uses: boolean
  readonly unknown: boolean
} {
  if (image.bases === undefined) {
    const skip = image.cannot ?? 'its bases are not known: it was built without provenance, or never'
    return { moved: [], skip, uses: false, unknown: false }
  }
  const asked = image.bases.filter((one) => makers.get(one.name) !== image && (!query || matchesBase(query, one)))
  const moved: Moved[] = []
  let skip: string | undefined
  let unknown = false
  for (const { name, digest, pinned } of asked) {
    const maker = makers.get(name)
    const now = maker ? (maker.digest === undefined ? undefined : { digest: maker.digest }) : digests.get(name)
    if (now === undefined) continue
    if ('error' in now) {
      skip ??= now.error
      unknown = true
      continue
    }
    if (now.digest === digest) continue
    if (pinned) skip ??= `its author wrote the digest of ${name} down`
    // On a schedule, one that was never built fails as often as it is tried.
    else if (digest === undefined && query === undefined) skip ??= `it names ${name} and was never built`
    else moved.push({ name, from: digest, to: now.digest })
  }
  return { moved, skip: moved.length > 0 ? undefined : skip, uses: asked.length > 0, unknown }
}

/** The images that are built on those, and so on: with what of their bases is about to move. */
function withUsers(
  images: readonly Image[],
  seeds: ReadonlyMap<Image, readonly Moved[]>,
  selected: (image: Image) => boolean,
  skipped: Skip[],
): Map<Image, readonly Moved[]> {
  const users = new Map<string, [Image, Base][]>()
  for (const image of images.filter(selected)) {
    for (const base of image.bases ?? []) users.set(base.name, [...(users.get(base.name) ?? []), [image, base]])
  }
  const result = new Map(seeds)
  const told = new Set(skipped.map(({ image }) => image))
  // Grows while it is walked.
  for (const [made] of result) {
    for (const [user, base] of made.names.flatMap((name) => users.get(name) ?? [])) {
      if (user === made) continue
      const why = user.cannot ?? (base.pinned ? `its author wrote the digest of ${base.name} down` : undefined)
      if (why !== undefined && !result.has(user)) {
        if (!told.has(user)) skipped.push({ image: user, reason: why, unknown: false })
        told.add(user)
        continue
      }
      const others = (result.get(user) ?? []).filter(({ name }) => name !== base.name)
      result.set(user, [...others, { name: base.name, from: base.digest, to: undefined }])
    }
  }
  return result
}

const stepsBefore = (
  image: Image,
  all: ReadonlyMap<Image, unknown>,
  makers: ReadonlyMap<string, Image>,
): readonly Image[] => [
  ...new Set(
    (image.bases ?? []).flatMap(({ name }) => {
      const maker = makers.get(name)
      return maker !== undefined && maker !== image && all.has(maker) ? [maker] : []
    }),
  ),
]

/** Level by level; `left` are those that are in a circle, or behind one. */
function sort(
  all: ReadonlyMap<Image, unknown>,
  makers: ReadonlyMap<string, Image>,
): {
  readonly order: { readonly image: Image; readonly level: number; readonly after: readonly string[] }[]
  readonly left: Image[]
} {
  const order: { image: Image; level: number; after: string[] }[] = []
  const done = new Set<Image>()
  let left = [...all.keys()]
  for (let level = 0; left.length > 0; level++) {
    const ready = left.filter((image) => stepsBefore(image, all, makers).every((one) => done.has(one)))
    if (ready.length === 0) break
    for (const image of ready.toSorted((a, b) => (a.id < b.id ? -1 : 1))) {
      order.push({ image, level, after: stepsBefore(image, all, makers).map(({ id }) => id) })
      done.add(image)
    }
    left = left.filter((image) => !done.has(image))
  }
  return { order, left }
}

function stuck(image: Image, left: readonly Image[], makers: ReadonlyMap<string, Image>): string {
  const among = new Map(left.map((one) => [one, undefined]))
  const path: Image[] = []
  let at: Image | undefined = image
  while (at !== undefined && !path.includes(at)) {
    path.push(at)
    at = stepsBefore(at, among, makers)[0]
  }
  const circle = at === undefined ? path : path.slice(path.indexOf(at))
  const names = [...circle, circle[0] ?? image].map(({ names: [name = '?'] }) => name).join(' → ')
  return circle.includes(image) ? `it is built from itself: ${names}` : `behind a circle of bases: ${names}`
}
