import { create } from '@bufbuild/protobuf'
import { type Ref, type Result, ResultSchema } from '../../buildkit/gen/gateway_pb.ts'
import type { BuildPart, SplitBuild } from './split-build.ts'

/** Metadata that can say its platform: BuildKit v0.33.1, exporter/containerimage/exptypes. */
const perPlatform = new Set(['containerimage.config', 'containerimage.base.config', 'containerimage.buildinfo'])
const platformsKey = 'refs.platforms'

interface Platform {
  readonly ID: string
  readonly Platform: Readonly<Record<string, unknown>>
}

/**
 * What the frontends of all parts made as one result, as a frontend gives it that was asked for all platforms: clients
 * look there for a platform's own, to build upon it (contexts of bake that are targets).
 */
export function mergeResults(
  parts: readonly { readonly part: Pick<BuildPart, 'platforms'>; readonly result: Result }[],
  platforms: SplitBuild['platforms'],
): Result {
  const refs: Record<string, Ref> = {}
  const listed: Platform[] = []
  const metadata: Record<string, Uint8Array> = {}
  for (const { part, result } of parts) {
    const own = part.platforms[0] ?? ''
    const single = result.result.case !== 'refs'
    if (result.result.case === 'refs') Object.assign(refs, result.result.value.refs)
    // Without one it is an empty image.
    else
      refs[own] =
        result.result.case === 'ref' ? result.result.value : { $typeName: 'insitu.buildkit.gateway.Ref', id: '' }
    listed.push(...(single ? [platformOf(own)] : platformsOf(result.metadata[platformsKey])))
    for (const [key, value] of Object.entries(result.metadata)) {
      const name = single && perPlatform.has(key) ? `${key}/${own}` : key
      if (key !== platformsKey) metadata[name] ??= value
    }
  }
  const rank = ({ ID }: Platform): number => (platforms.includes(ID) ? platforms.indexOf(ID) : platforms.length)
  const all = { Platforms: listed.toSorted((a, b) => rank(a) - rank(b)) }
  metadata[platformsKey] = Buffer.from(JSON.stringify(all))
  return create(ResultSchema, { result: { case: 'refs', value: { refs } }, metadata })
}

function platformOf(text: string): Platform {
  const [os = '', architecture = '', variant] = text.split('/')
  return { ID: text, Platform: { architecture, os, ...(variant === undefined ? {} : { variant }) } }
}

function platformsOf(json: Uint8Array | undefined): readonly Platform[] {
  if (!json) return []
  const { Platforms } = JSON.parse(Buffer.from(json).toString('utf8')) as { readonly Platforms?: readonly Platform[] }
  return Platforms ?? []
}

/** The ids by which a client asks for what is in a result. */
export function refsOf({ result }: Result): string[] {
  if (result.case === 'ref') return [result.value.id]
  return result.case === 'refs' ? Object.values(result.value.refs).map(({ id }) => id) : []
}
