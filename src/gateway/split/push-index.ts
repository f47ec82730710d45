import { createHash } from 'node:crypto'
import { InsituError } from '../../kernel/errors.ts'
import type { HttpAnswer } from '../../kernel/http/answer.ts'
import { parseReference } from '../../buildkit/reference.ts'
import type { Descriptor, ImageIndex } from './image-index.ts'
import { askFor, findSchemes, type PushOptions, type Schemes } from './registries.ts'

/**
 * Pushes an index whose manifests are in their registries already: under its digest everywhere, and only when that has
 * worked under the names. A single name gets it at once.
 * @throws InsituError PUSH (UNAVAILABLE, PERMISSION_DENIED)
 */
export async function pushIndex(
  index: ImageIndex,
  options: PushOptions,
  schemes: Schemes = findSchemes(options),
): Promise<void> {
  const registries = { options, schemes, authorizations: new Map<string, string>() }
  const put = async (name: string, reference: string): Promise<void> => {
    const request = { method: 'PUT', headers: { 'content-type': index.mediaType }, body: index.bytes } as const
    const answer = await askFor(registries, { name, reference, what: 'pushed' }, request)
    if (answer.status < 200 || answer.status >= 300) throw refused(name, answer)
  }
  const named = options.byDigest
    ? []
    : options.names.flatMap((name) => {
        const { tag } = parseReference(name)
        return tag === undefined ? [] : [{ name, tag }]
      })
  const [only] = named
  if (only && options.names.length === 1) return put(only.name, only.tag)
  for (const name of options.names) await put(name, index.digest)
  for (const { name, tag } of named) await put(name, tag)
}

/**
 * The text of a manifest that a node has pushed.
 * @throws InsituError PUSH (UNAVAILABLE, PERMISSION_DENIED), also where the registry has something else.
 */
export async function readPushed(
  { digest, mediaType }: Pick<Descriptor, 'digest' | 'mediaType'>,
  options: PushOptions,
  schemes: Schemes = findSchemes(options),
): Promise<string> {
  const [name = ''] = options.names
  const request = { method: 'GET', headers: { accept: mediaType } } as const
  const registries = { options, schemes, authorizations: new Map<string, string>() }
  const answer = await askFor(registries, { name, reference: digest, what: 'read' }, request)
  if (answer.status !== 200) throw refused(name, answer)
  if (digest === `sha256:${createHash('sha256').update(answer.body).digest('hex')}`) return answer.body
  throw new InsituError('PUSH', `the registry of ${name} answers with something else than ${digest}`, {
    status: 'UNAVAILABLE',
    fix: 'run the build again',
  })
}

function refused(name: string, { status, body }: HttpAnswer): InsituError {
  const denied = status === 401 || status === 403
  const why = /"message"\s*:\s*"([^"]{1,200})"/.exec(body)?.[1]
  const text = `the registry of ${name} answers ${status} to its index${why === undefined ? '' : `: ${why}`}`
  return new InsituError('PUSH', text, {
    status: denied ? 'PERMISSION_DENIED' : 'UNAVAILABLE',
    fix: denied ? 'log in on the client (docker login), with the right to push' : 'run the build again',
  })
}
