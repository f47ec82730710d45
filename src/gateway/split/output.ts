import { effectiveExporters, isOn, isPushed } from '../../buildkit/exporters.ts'
import type { SolveRequest } from '../../buildkit/gen/control_pb.ts'
import { normalizeReference, repositoryOf } from '../../buildkit/reference.ts'
import type { SplitOutput } from './split-build.ts'

/** Why the results of a build cannot be made on several nodes and put together; completes "…, because". */
export interface Whole {
  readonly because: string
}

const whole = (because: string): Whole => ({ because })

/** Attributes that say something of the index, or of a single manifest in it, which no part can know. */
const ofIndex = /^annotation(-index|-manifest-descriptor|-index-descriptor)[.[]/

/** What would become of the images of a build whose platforms are built on several nodes, or why that cannot be. */
export function splitOutput(request: SolveRequest): SplitOutput | Whole {
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

/** Attributes of a part's image exporter. What is pushed has no name until all parts are there. */
export function partAttributes(
  attrs: Readonly<Record<string, string>>,
  output: SplitOutput,
): Readonly<Record<string, string>> {
  if (output.kind !== 'push') return attrs
  const repositories = [...new Set(output.names.map(repositoryOf))].join(',')
  return { ...attrs, name: repositories, push: 'true', 'push-by-digest': 'true', store: 'false', unpack: 'false' }
}
