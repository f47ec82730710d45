import { createHash } from 'node:crypto'

/**
 * What controllers and gateways agree on about Builds with `trigger: OnPull`. The Build itself is never run: it stands
 * and waits. A gateway that holds a pull writes an annotation on it, a demand; the controller makes an ordinary Build
 * of it for the name that was pulled.
 */

/** In names of the output, and in revision and args, what the tag of the pulled name has in this place. */
export const revisionPlaceholder = '${REVISION}'

/** Annotations with this prefix are all that gateways may write on Builds. */
export const pullPrefix = 'pull.insitu.build/'
/** Why the policy does not let the Build have its names. Written by gateways, which know the policy. */
export const refusedAnnotation = `${pullPrefix}refused`
/** On a Build whose image stays on the nodes: which node wants it and has no mirror to get it from. Written by gateways. */
export const unservedAnnotation = `${pullPrefix}unserved`
/** What gateways say in sentences; all other annotations of theirs are demands. */
const sentences: readonly string[] = [refusedAnnotation, unservedAnnotation]
/** On a Build that a pull began: the UID of the Build that waited for it. */
export const pulledByLabel = 'insitu.build/pulled-by'
/** On it: what of the Build that waited it was made for, a Pull as JSON. */
export const pullAnnotation = 'insitu.build/pull'

export const onPullDefaults = { revisions: 'Commits', atOnce: 4, keep: 20 } as const

/** Why a name is wanted: what a gateway writes as the annotation `pullPrefix` + `demandKey`. */
export interface Demand {
  /** Normalised. */
  readonly name: string
  /** The platform of the node that asked; undefined where nobody knows it. */
  readonly platform?: string | undefined
  /** The node that asked. */
  readonly asked: string
  /** Why that node cannot build; undefined when it shall. */
  readonly elsewhere?: string | undefined
  /** RFC 3339. */
  readonly at: string
}

/** What a Build was made for. */
export interface Pull {
  /** The one that was pulled. */
  readonly name: string
  /** All that the build gives. */
  readonly names: readonly string[]
  /** Those that it builds. Empty: that of its node. */
  readonly platforms: readonly string[]
  /** `metadata.generation` of the Build that waited. */
  readonly generation: number
  /** Failures in a row before it, of this name and generation. */
  readonly failures: number
  readonly asked: string
  /** Why the node that asked does not build. */
  readonly elsewhere?: string | undefined
}

/** One annotation per name and platform, so that what two gateways write at once is the same or does not meet. */
export const demandKey = (name: string, platform: string | undefined): string =>
  pullPrefix +
  createHash('sha256')
    .update(`${name} ${platform ?? ''}`)
    .digest('hex')
    .slice(0, 32)

/** The demands among annotations, by key. What cannot be read is undefined: everybody who may edit a Build can write there. */
export function demandsOf(annotations: Readonly<Record<string, string>> = {}): Map<string, Demand | undefined> {
  const found = new Map<string, Demand | undefined>()
  for (const [key, text] of Object.entries(annotations)) {
    if (key.startsWith(pullPrefix) && !sentences.includes(key)) found.set(key, readDemand(text))
  }
  return found
}

function readDemand(text: string): Demand | undefined {
  const { name, platform, asked, elsewhere, at } = parse(text)
  const time = typeof at === 'string' ? Date.parse(at) : NaN
  if (typeof name !== 'string' || typeof asked !== 'string' || Number.isNaN(time)) return undefined
  if (!/^[a-z0-9]([-a-z0-9.]{0,252})$/.test(asked)) return undefined
  const known = typeof platform === 'string' && /^[a-z0-9]+\/[a-z0-9]+(\/[a-z0-9]+)?$/.test(platform)
  return {
    ...{ name, asked, at: new Date(time).toISOString() },
    ...(known ? { platform } : {}),
    ...(typeof elsewhere === 'string' ? { elsewhere: elsewhere.slice(0, 500) } : {}),
  }
}

/** Reads `pullAnnotation`; undefined for what is none. */
export function readPull(text: string | undefined): Pull | undefined {
  const { name, names, platforms, generation, failures, asked, elsewhere } = parse(text ?? '')
  if (typeof name !== 'string' || typeof generation !== 'number' || typeof failures !== 'number') return undefined
  return {
    // An older controller did not say which others there are.
    ...{ name, names: Array.isArray(names) ? strings(names) : [name], platforms: strings(platforms) },
    ...{ generation, failures, asked: typeof asked === 'string' ? asked : '' },
    ...(typeof elsewhere === 'string' ? { elsewhere } : {}),
  }
}

const strings = (value: unknown): readonly string[] =>
  Array.isArray(value) ? value.filter((one) => typeof one === 'string') : []

function parse(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
  } catch {
    return {}
  }
}

export interface NameMatch {
  /** What stands for the placeholder; undefined where the pattern has none. */
  readonly revision: string | undefined
}

/** How a name fits one of the (normalised) names of a Build; names without a placeholder go before those with one. */
export function matchName(patterns: readonly string[], name: string): NameMatch | undefined {
  if (patterns.includes(name)) return { revision: undefined }
  for (const pattern of patterns) {
    const parts = patternOf(pattern)
    const { before, after } = parts
    if (after === undefined || !fits(parts, name)) continue
    return { revision: name.slice(before.length, name.length - after.length) }
  }
  return undefined
}

/** All names of one build: those of a Build, with the revision in its place. */
export const namesOf = (patterns: readonly string[], revision: string | undefined): readonly string[] =>
  revision === undefined ? patterns : patterns.map((pattern) => pattern.replaceAll(revisionPlaceholder, revision))

/** A name of a Build in two parts, so that comparing it with many takes it apart once. */
export interface Pattern {
  readonly before: string
  /** What follows the placeholder; undefined where the name has none. */
  readonly after: string | undefined
}

export function patternOf(name: string): Pattern {
  const [before = '', after] = name.split(revisionPlaceholder)
  return { before, after }
}

/** Whether two patterns could mean the same name. */
export function overlap(one: Pattern, other: Pattern): boolean {
  if (one.after === undefined) return other.after === undefined ? one.before === other.before : fits(other, one.before)
  if (other.after === undefined) return fits(one, other.before)
  return (
    (one.before.startsWith(other.before) || other.before.startsWith(one.before)) &&
    (one.after.endsWith(other.after) || other.after.endsWith(one.after))
  )
}

const fits = ({ before, after = '' }: Pattern, name: string): boolean =>
  name.length > before.length + after.length && name.startsWith(before) && name.endsWith(after)

/**
 * Why a revision may not be put in, or undefined. A tag has no characters that mean something to git's command line or
 * to a URL; what git itself does not take for a name of a branch or tag is refused here already.
 */
export function badRevision(revision: string, mode: 'Commits' | 'Any' | undefined): string | undefined {
  if (/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(revision)) return undefined
  if ((mode ?? onPullDefaults.revisions) === 'Commits') {
    return `"${revision}" is no commit: a full one has 40 hexadecimal digits (spec.onPull.revisions says which revisions are taken)`
  }
  const valid = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/.test(revision)
  return valid && !/\.\.|\.lock$|\.$/.test(revision) ? undefined : `"${revision}" is no name of a branch or tag in git`
}

/** Seconds after the nth failure in a row (from 1) for which it is the answer to every pull. */
export const retryAfter = (failures: number): number => Math.min(300, 30 * 2 ** Math.min(failures - 1, 10))

/** Whether what was built for some platforms serves a node. A variant serves its processor: linux/arm64/v8 linux/arm64. */
export const coversPlatform = (built: readonly string[], wanted: string | undefined): boolean =>
  wanted === undefined ||
  built.length === 0 ||
  built.some((one) => one === wanted || one.startsWith(`${wanted}/`) || wanted.startsWith(`${one}/`))

/**
 * What matters of a failed build's last lines, in one: what its step said and the error, without buildctl's numbering,
 * frames and repetitions.
 */
export function gist(message: string, room = 500): string {
  const lines = message.split('\n').flatMap((line) => line.trim() || [])
  const said = lines.filter((line) => !/^(-+$|#\d+ |> \[|Dockerfile:\d+$|\d+ \|)/.test(line))
  return (said.length > 0 ? said : lines).join('; ').slice(-room) || 'it said nothing'
}
