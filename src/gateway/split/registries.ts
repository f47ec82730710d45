import { parseReference } from '../../buildkit/reference.ts'
import type { ProxyVariables } from '../../buildkit/proxy.ts'
import { describeError, InsituError } from '../../kernel/errors.ts'
import type { HttpAnswer } from '../../kernel/http/answer.ts'
import { readChallenge } from '../../kernel/http/challenge.ts'
import { readToken } from '../../kernel/http/token.ts'
import type { ClientCredentials } from './ask-client.ts'
import { askRegistry, type RegistryRequest } from './registry-request.ts'
import { tryAgain } from './try-again.ts'

export interface PushOptions {
  /** Normalised names. */
  readonly names: readonly string[]
  /** Only under its digest: the names' tags are left alone. */
  readonly byDigest: boolean
  /** Certificates are not looked at, and plain HTTP is used where there is no TLS. */
  readonly insecure: boolean
  /** Registries (host, or host:port) that speak plain HTTP. */
  readonly plainHttp: readonly string[]
  /** Through which they are asked. */
  readonly proxies: ProxyVariables
  /** Undefined: the build has no session, so there are no credentials. */
  readonly credentials: ClientCredentials | undefined
  readonly signal: AbortSignal
}

type SchemeOptions = Pick<PushOptions, 'insecure' | 'plainHttp' | 'proxies' | 'signal'>

/** By registry (host, or host:port), as far as they were asked. */
export type Schemes = ReadonlyMap<string, Promise<Scheme>>
type Scheme = 'http' | 'https'

/** Finds out how the registries of the names are spoken to: while the nodes build, nobody waits for it. */
export function findSchemes(options: SchemeOptions & Pick<PushOptions, 'names'>): Schemes {
  const hosts = new Set(options.names.map((name) => registryOf(name).host))
  const ask = (host: string): Promise<Scheme> => {
    const scheme = schemeOf(host, options)
    // A build that fails before it pushes does not look.
    scheme.catch(() => undefined)
    return scheme
  }
  return new Map([...hosts].map((host) => [host, ask(host)]))
}

/** The registries of one build. */
export interface Registries {
  readonly options: PushOptions
  readonly schemes: Schemes
  /** By repository. */
  readonly authorizations: Map<string, string>
}

function registryOf(name: string): { readonly host: string; readonly path: string } {
  const { domain, path } = parseReference(name)
  return { host: domain === 'docker.io' ? 'registry-1.docker.io' : domain, path }
}

interface Asked {
  readonly name: string
  readonly reference: string
  /** For errors. */
  readonly what: 'pushed' | 'read'
}

/** Asks for a manifest, or gives one, with the client's credentials where the registry wants some. */
export async function askFor(
  { options, schemes, authorizations }: Registries,
  { name, reference, what }: Asked,
  request: Pick<RegistryRequest, 'method' | 'headers' | 'body'>,
): Promise<HttpAnswer> {
  const { host, path } = registryOf(name)
  const repository = `${host}/${path}`
  const send = (scheme: Scheme): Promise<HttpAnswer> => {
    const authorization = authorizations.get(repository)
    return askRegistry(new URL(`${scheme}://${host}/v2/${path}/manifests/${reference}`), {
      ...request,
      headers: { ...request.headers, ...(authorization === undefined ? {} : { authorization }) },
      insecure: options.insecure,
      proxies: options.proxies,
      signal: options.signal,
    })
  }
  const ask = async (): Promise<HttpAnswer> => {
    let scheme = (await schemes.get(host)) ?? (await schemeOf(host, options))
    let answer = await send(scheme).catch(async (error: unknown) => {
      if (scheme === 'https') throw error
      // It may have come up, with TLS, since it was asked.
      scheme = await schemeOf(host, options)
      if (scheme === 'http') throw error
      return send(scheme)
    })
    if (answer.status === 401) {
      const authorization = await authorize(host, path, answer, options)
      if (authorization !== undefined) {
        authorizations.set(repository, authorization)
        answer = await send(scheme)
      }
    }
    return answer
  }
  try {
    return await tryAgain(ask, options.signal)
  } catch (error) {
    options.signal.throwIfAborted()
    if (error instanceof InsituError) throw error
    throw new InsituError('PUSH', `the index of ${name} cannot be ${what}: ${describeError(error)}`, {
      status: 'UNAVAILABLE',
      fix: 'the gateway must reach the registry, if need be by the proxy of the install (docs/proxy.md); gateway.push.plainHttp lists registries without TLS',
    })
  }
}

/** As BuildKit: plain HTTP for this machine and for registries that are known to speak it. */
async function schemeOf(host: string, options: SchemeOptions): Promise<Scheme> {
  const { plainHttp, insecure, proxies, signal } = options
  if (plainHttp.includes(host) || /^(localhost|127(\.\d+){3}|\[::1\])(:\d+)?$/.test(host)) return 'http'
  if (!insecure) return 'https'
  const probe = { method: 'GET', headers: {}, insecure, proxies, signal } as const
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
  { credentials, insecure, proxies, signal }: PushOptions,
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
    proxies,
    signal,
  })
  const found = readToken(answer.body)
  return found && `Bearer ${found.token}`
}
