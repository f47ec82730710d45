import { parseReference } from '../../buildkit/reference.ts'
import { describeError, InsituError } from '../../kernel/errors.ts'
import type { ClientCredentials } from './ask-client.ts'
import type { HttpAnswer } from '../../kernel/http/answer.ts'
import { readChallenge } from '../../kernel/http/challenge.ts'
import { readToken } from '../../kernel/http/token.ts'
import type { ImageIndex } from './image-index.ts'
import { askRegistry } from './registry-request.ts'

export interface PushOptions {
  /** Normalised names. */
  readonly names: readonly string[]
  /** Only under its digest: the names' tags are left alone. */
  readonly byDigest: boolean
  /** Certificates are not looked at, and plain HTTP is used where there is no TLS. */
  readonly insecure: boolean
  /** Registries (host, or host:port) that speak plain HTTP. */
  readonly plainHttp: readonly string[]
  /** Undefined: the build has no session, so there are no credentials. */
  readonly credentials: ClientCredentials | undefined
  readonly signal: AbortSignal
}

/**
 * Pushes an index whose manifests are in their registries already: under its digest everywhere, and only when that has
 * worked under the names.
 * @throws InsituError PUSH (UNAVAILABLE, PERMISSION_DENIED)
 */
export async function pushIndex(index: ImageIndex, options: PushOptions): Promise<void> {
  const authorizations = new Map<string, string>()
  for (const name of options.names) await put(index, name, index.digest, options, authorizations)
  if (options.byDigest) return
  for (const name of options.names) {
    const { tag } = parseReference(name)
    if (tag !== undefined) await put(index, name, tag, options, authorizations)
  }
}

async function put(
  { bytes, mediaType }: ImageIndex,
  name: string,
  reference: string,
  options: PushOptions,
  authorizations: Map<string, string>,
): Promise<void> {
  const { domain, path } = parseReference(name)
  const host = domain === 'docker.io' ? 'registry-1.docker.io' : domain
  const repository = `${host}/${path}`
  const send = (scheme: string): Promise<HttpAnswer> => {
    const authorization = authorizations.get(repository)
    return askRegistry(new URL(`${scheme}://${host}/v2/${path}/manifests/${reference}`), {
      method: 'PUT',
      headers: { 'content-type': mediaType, ...(authorization === undefined ? {} : { authorization }) },
      body: bytes,
      insecure: options.insecure,
      signal: options.signal,
    })
  }
  try {
    const scheme = await schemeOf(host, options)
    let answer = await send(scheme)
    if (answer.status === 401) {
      const authorization = await authorize(host, path, answer, options)
      if (authorization !== undefined) {
        authorizations.set(repository, authorization)
        answer = await send(scheme)
      }
    }
    if (answer.status >= 200 && answer.status < 300) return
    throw refused(name, answer)
  } catch (error) {
    options.signal.throwIfAborted()
    if (error instanceof InsituError) throw error
    throw new InsituError('PUSH', `the index of ${name} cannot be pushed: ${describeError(error)}`, {
      status: 'UNAVAILABLE',
      fix: 'the gateway must reach the registry; gateway.push.plainHttp lists registries without TLS',
    })
  }
}

/** As BuildKit: plain HTTP for this machine and for registries that are known to speak it. */
async function schemeOf(host: string, { plainHttp, insecure, signal }: PushOptions): Promise<'http' | 'https'> {
  if (plainHttp.includes(host) || /^(localhost|127(\.\d+){3}|\[::1\])(:\d+)?$/.test(host)) return 'http'
  if (!insecure) return 'https'
  const probe = { method: 'GET', headers: {}, insecure, signal } as const
  return askRegistry(new URL(`https://${host}/v2/`), probe).then(
    () => 'https',
    () => 'http',
  )
}

/** @returns the header's value; undefined when the client has no credentials that would help. */
async function authorize(
  host: string,
  path: string,
  { headers }: HttpAnswer,
  { credentials, insecure, signal }: PushOptions,
): Promise<string | undefined> {
  const challenge = readChallenge(headers['www-authenticate'])
  if (!challenge || !credentials) return undefined
  const basic = async (): Promise<string | undefined> => {
    const found = await credentials.basic(host, signal)
    return found && `Basic ${Buffer.from(`${found.username}:${found.secret}`).toString('base64')}`
  }
  if (challenge.scheme === 'basic') return basic()
  const { realm, service } = challenge
  const scope = `repository:${path}:pull,push`
  const given = await credentials.token({ host, realm, service, scopes: [scope] }, signal)
  if (given !== undefined) return `Bearer ${given}`
  // A client from before FetchToken: its credentials are for us to use.
  const authorization = await basic()
  const url = new URL(realm)
  url.searchParams.set('service', service)
  url.searchParams.set('scope', scope)
  const answer = await askRegistry(url, {
    method: 'GET',
    headers: authorization === undefined ? {} : { authorization },
    insecure,
    signal,
  })
  const found = readToken(answer.body)
  return found && `Bearer ${found.token}`
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
