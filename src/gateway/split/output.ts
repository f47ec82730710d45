import { effectiveExporters, isOn, isPushed } from '../../buildkit/exporters.ts'
import type { SolveRequest } from '../../buildkit/gen/control_pb.ts'
import { normalizePlatform } from '../../buildkit/platform.ts'
import { normalizeReference, repositoryOf } from '../../buildkit/reference.ts'
import type { SplitOutput } from './split-build.ts'

/** Why the results of a build cannot be made on several nodes and put together; completes "…, because". */
export interface Whole {
  readonly because: string
}

const whole = (because: string): Whole => ({ because })

/** Attributes that say something of the index, or of a single manifest in it, which no part can know. */
const ofIndex = /^annotation(-index|-manifest-descriptor|-index-descriptor)[.[]/

/** Attributes that say something of the image of one platform: BuildKit v0.33.1, exporter/containerimage/exptypes. */
const ofImage = /^annotation(?:-manifest)?\[([A-Za-z0-9_/-]+)\]\.(\S+)$/

/**
 * What would become of the images of a build whose platforms are built on several nodes, or why that cannot be.
 * @param platforms of the build, as nodes list theirs.
 */
export function splitOutput(request: SolveRequest, platforms: readonly string[]): SplitOutput | Whole {
  if (request.definition && request.definition.def.length > 0) return whole('it is a graph and not a frontend')
  if (request.enableSessionExporter) return whole('the client chooses exporters later')
  if (request.frontendAttrs['requestid'] !== undefined) return whole('it asks a question of the frontend')
  const cache = request.cache?.exports.find(({ type }) => type !== 'inline')
  if (cache || (request.cache?.exportRefDeprecated ?? '') !== '') {
    return whole(`type=${cache?.type ?? 'registry'} stores one cache for all platforms`)
  }
  const exporters = effectiveExporters(request)
  if (exporters.length === 0) return { kind: 'none' }
  if (exporters.length > 1) return whole('it has several outputs')
  const [{ type, attrs }] = exporters as [(typeof exporters)[number]]
  if (type !== 'image') return whole(`type=${type} is one stream to the client`)
  if (Object.keys(attrs).some((key) => ofIndex.test(key))) return whole('it annotates the index')
  // One daemon says what is wrong with it.
  if (Object.keys(attrs).some((key) => annotatesOther(key, platforms))) {
    return whole('it annotates a platform that it does not build')
  }
  const said = (attrs['name'] ?? '').split(',').flatMap((name) => (name.trim() === '' ? [] : [name.trim()]))
  if (said.includes('*')) return whole('the frontend chooses the name')
  if (attrs['dangling-name-prefix'] !== undefined || isOn(attrs['name-canonical'])) {
    return whole('its names contain the digest')
  }
  try {
    const names = said.map(normalizeReference)
    if (names.some((name) => name.includes('@'))) return whole('its name is a digest')
    // What is not stored has no name on any node.
    const stored = attrs['store'] === undefined || isOn(attrs['store'])
    if (!isPushed(attrs)) return { kind: 'place', names: stored ? names : [] }
    if (names.length === 0) return whole('it is pushed without a name')
    return { kind: 'push', names, byDigest: isOn(attrs['push-by-digest']), insecure: isOn(attrs['registry.insecure']) }
  } catch {
    return whole('its name is not an image name')
  }
}

/**
 * Attributes of a part's image exporter. What is pushed has no name until all parts are there.
 * @param platforms of the part.
 */
export function partAttributes(
  attrs: Readonly<Record<string, string>>,
  output: SplitOutput,
  platforms: readonly string[],
): Readonly<Record<string, string>> {
  const own = annotationsOf(attrs, platforms)
  if (output.kind !== 'push') return own
  const repositories = [...new Set(output.names.map(repositoryOf))].join(',')
  return { ...own, name: repositories, push: 'true', 'push-by-digest': 'true', store: 'false', unpack: 'false' }
}

/**
 * Without annotations of other platforms, which BuildKit refuses. In a part of one platform its own are those of the
 * image: there BuildKit looks for no other, unless there are attestations beside it.
 */
function annotationsOf(
  attrs: Readonly<Record<string, string>>,
  platforms: readonly string[],
): Readonly<Record<string, string>> {
  const result: Record<string, string> = {}
  const own = new Map<string, string>()
  for (const [attribute, value] of Object.entries(attrs)) {
    const [, platform, key] = ofImage.exec(attribute) ?? []
    if (platform === undefined || key === undefined) result[attribute] = value
    else if (!isOneOf(platform, platforms)) continue
    else if (platforms.length > 1) result[attribute] = value
    else own.set(key, value)
  }
  for (const [key, value] of own) {
    // The other spelling: of two BuildKit takes any.
    delete result[`annotation.${key}`]
    result[`annotation-manifest.${key}`] = value
  }
  return result
}

function annotatesOther(attribute: string, platforms: readonly string[]): boolean {
  const platform = ofImage.exec(attribute)?.[1]
  return platform !== undefined && !isOneOf(platform, platforms)
}

function isOneOf(platform: string, platforms: readonly string[]): boolean {
  try {
    return platforms.includes(normalizePlatform(platform) ?? '')
  } catch {
    return false
  }
}
