import type { SolveRequest } from './gen/control_pb.ts'
import { hasTag, normalizeReference, repositoryOf } from './reference.ts'
import { truthOf } from './truth.ts'

type Attributes = Readonly<Record<string, string>>

interface ExporterLike {
  readonly type: string
  readonly attrs: Attributes
}

/** The exporters that take effect: the list, or the fields of clients older than it when the list is empty. */
export function effectiveExporters(request: SolveRequest): readonly ExporterLike[] {
  if (request.exporters.length > 0) return request.exporters
  if (request.exporterDeprecated === '') return []
  return [{ type: request.exporterDeprecated, attrs: request.exporterAttrsDeprecated }]
}

/** Whether an exporter makes an image, and says its digest. */
export const isImage = ({ type }: ExporterLike): boolean => ['image', 'oci', 'docker'].includes(type)

/** As BuildKit reads switches: absent is false, present without a value is true. */
export const isOn = (value: string | undefined): boolean =>
  value !== undefined && (value === '' || truthOf(value) === true)

export const isPushed = (attrs: Attributes): boolean => isOn(attrs['push']) || isOn(attrs['push-by-digest'])

/** `name` may list several. `*` lets the frontend choose, which nobody knows yet. */
const namesOf = (attrs: Attributes): string[] =>
  (attrs['name'] ?? '')
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '' && name !== '*')

const storedImages = (exporters: readonly ExporterLike[]): ExporterLike[] =>
  exporters.filter((e) => e.type === 'image' && (e.attrs['store'] === undefined || isOn(e.attrs['store'])))

const isByDigest = (attrs: Attributes): boolean => isOn(attrs['push-by-digest'])

/**
 * The names a build leaves in its node's image store, normalised, each once. What is not a name is left out, and so is
 * the repository of what is pushed by digest: no name of an image there points to that.
 */
export function exportedImages(exporters: readonly ExporterLike[]): string[] {
  const names = ({ attrs }: ExporterLike): string[] =>
    isByDigest(attrs) ? namesOf(attrs).filter(hasTag) : namesOf(attrs)
  return normalized(storedImages(exporters).flatMap(names))
}

/** The first repository that a build's images go to. */
export function firstRepository(exporters: readonly ExporterLike[]): string | undefined {
  const [first] = normalized(storedImages(exporters).flatMap(({ attrs }) => namesOf(attrs)))
  return first === undefined ? undefined : repositoryOf(first)
}

/** Whether an image is only to stay where it is built: it has a name there and goes nowhere else. */
export const onlyStays = (exporters: readonly ExporterLike[]): boolean =>
  storedImages(exporters).some((e) => (e.attrs['name'] ?? '') !== '' && !isPushed(e.attrs))

/** Whether the frontend chooses a name, so that only the answer of the build tells it. */
export const frontendNames = (exporters: readonly ExporterLike[]): boolean =>
  storedImages(exporters).some((e) => !isByDigest(e.attrs) && (e.attrs['name'] ?? '').includes('*'))

/** Normalised names, each once; what is not an image name is left out. */
export function normalized(names: readonly string[]): string[] {
  const found = new Set<string>()
  for (const name of names) {
    try {
      found.add(normalizeReference(name))
    } catch {
      // BuildKit takes any text for a name; nothing can run or wait for an image that has none.
    }
  }
  return [...found]
}

/**
 * Attributes of an image exporter with the defaults that make the image usable on its node at once. What the client
 * says is kept. Names are written in full: containerd keeps what it is given, and a kubelet looks for the full form.
 * @throws InsituError IMAGE_NAME
 */
export function withImageDefaults(attrs: Attributes): Record<string, string> {
  const result: Record<string, string> = { ...attrs }
  const names = namesOf(attrs)
  if (names.length > 0 && attrs['name'] !== undefined && !attrs['name'].includes('*')) {
    result['name'] = namesInFull(names, attrs)
  }
  // BuildKit refuses to unpack what it rewrites timestamps in.
  if (attrs['unpack'] === undefined && !isOn(attrs['rewrite-timestamp'])) result['unpack'] = 'true'
  const compressed = ['compression', 'compression-level', 'force-compression'].some((key) => attrs[key] !== undefined)
  if (!isPushed(attrs) && !compressed) result['compression'] = 'uncompressed'
  return result
}

/**
 * Names as containerd would write them. What is pushed by digest gets no tag that the client did not say: BuildKit
 * refuses one there.
 * @throws InsituError IMAGE_NAME
 */
export function namesInFull(names: readonly string[], attrs: Attributes): string {
  const inFull = (name: string): string => (hasTag(name) ? normalizeReference(name) : repositoryOf(name))
  return names.map(isByDigest(attrs) ? inFull : normalizeReference).join(',')
}
