import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { parseReference } from '../../buildkit/reference.ts'
import type { Env } from '../../kernel/config/env.ts'
import { readAnswer } from '../../kernel/http/answer.ts'
import { readChallenge } from '../../kernel/http/challenge.ts'
import { type HttpRequest, send } from '../../kernel/http/send.ts'
import { readToken } from '../../kernel/http/token.ts'
import { describeError } from '../../kernel/errors.ts'
import type { Credentials } from './credentials.ts'
import type { Current } from './plan.ts'

export interface RegistryOptions {
  /** Registries (host or host:port) that are reached elsewhere than at https://HOST: by URL. */
  readonly registries: ReadonlyMap<string, string>
  readonly credentials: Credentials
  /** HTTP_PROXY, HTTPS_PROXY and NO_PROXY, in either case. */
  readonly proxies: Env
  readonly signal: AbortSignal
  /** Milliseconds for one request. Default 20,000. */
  readonly timeout?: number
}

/** What a name may point to: OCI image spec v1.1 and Docker's older types. */
const accept = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
].join(', ')

/**
 * Asks a registry what a name points to, without reading the image: https://github.com/opencontainers/distribution-spec
 * ("Checking if content exists in the registry").
 * @param name normalised
 * @returns the digest of index or manifest, or a sentence about why it is not known.
 */
export async function currentDigest(name: string, options: RegistryOptions): Promise<Current> {
  try {
    return await ask(name, options)
  } catch (error) {
    options.signal.throwIfAborted()
    return { error: `what ${name} is now cannot be asked: ${reasonOf(error)}` }
  }
}

/** An answer that is broken off has the reason in its cause. */
const reasonOf = (error: unknown): string => {
  const { cause = error } = error as { readonly cause?: unknown }
  const late = cause instanceof Error && cause.name === 'TimeoutError'
  return late ? 'the registry does not answer' : describeError(error)
}

async function ask(name: string, options: RegistryOptions): Promise<Current> {
  const { domain, path, tag } = parseReference(name)
  const base = options.registries.get(domain) ?? `https://${domain === 'docker.io' ? 'registry-1.docker.io' : domain}`
  const url = new URL(`${base.replace(/\/$/, '')}/v2/${path}/manifests/${tag ?? 'latest'}`)
  const request = (method: 'HEAD' | 'GET', authorization: string | undefined): Promise<IncomingMessage> =>
    follow(url, requestOf(method, { accept }, authorization, options))
  const look = async (): Promise<Looked> => looked(await request('HEAD', authorization))
  let authorization: string | undefined
  let answer = await look()
  if (answer.status === 401) {
    authorization = await authorize(answer.headers['www-authenticate'], domain, path, options)
    if (authorization !== undefined) answer = await look()
  }
  if (answer.status === 401 || answer.status === 403) {
    return {
      error: `what ${name} is now cannot be asked: the registry wants other credentials (HTTP ${answer.status})`,
    }
  }
  if (answer.status === 404) return { error: `${name} is not in its registry any more` }
  if (answer.status < 200 || answer.status >= 300) {
    return { error: `what ${name} is now cannot be asked: HTTP ${answer.status}` }
  }
  const digest = answer.headers['docker-content-digest']
  if (typeof digest === 'string') return { digest }
  const whole = await request('GET', authorization)
  if (whole.statusCode !== 200) {
    return { error: `what ${name} is now cannot be asked: HTTP ${looked(whole).status}` }
  }
  const hash = createHash('sha256')
  for await (const chunk of whole) hash.update(chunk as Buffer)
  return { digest: `sha256:${hash.digest('hex')}` }
}

const requestOf = (
  method: 'HEAD' | 'GET',
  headers: Readonly<Record<string, string>>,
  authorization: string | undefined,
  { proxies, signal, timeout = 20_000 }: RegistryOptions,
): HttpRequest => ({
  ...{ method, proxies, timeout },
  headers: { ...headers, ...(authorization === undefined ? {} : { authorization }) },
  signal: AbortSignal.any([signal, AbortSignal.timeout(timeout)]),
})

interface Looked extends Pick<IncomingMessage, 'headers'> {
  readonly status: number
}

/** An answer of which nothing more is read. */
function looked(answer: IncomingMessage): Looked {
  answer.resume()
  return { status: answer.statusCode ?? 0, headers: answer.headers }
}

/** Follows redirects, such as those of mirrors, and leaves out the credentials, which are for the registry itself. */
async function follow(url: URL, request: HttpRequest, most = 5): Promise<IncomingMessage> {
  const answer = await send(url, request)
  const { location } = answer.headers
  if (!/^30[12378]$/.test(String(answer.statusCode)) || location === undefined || most === 0) return answer
  answer.resume()
  const next = new URL(location, url)
  const { authorization, ...headers } = request.headers
  const own = next.origin === url.origin && authorization !== undefined
  return follow(next, { ...request, headers: own ? { ...headers, authorization } : headers }, most - 1)
}

async function authorize(
  header: string | undefined,
  domain: string,
  path: string,
  options: RegistryOptions,
): Promise<string | undefined> {
  const challenge = readChallenge(header)
  const basic = options.credentials.basic(domain)
  if (challenge?.scheme !== 'bearer') return challenge && basic
  const url = new URL(challenge.realm)
  if (challenge.service !== '') url.searchParams.set('service', challenge.service)
  url.searchParams.set('scope', challenge.scope ?? `repository:${path}:pull`)
  const { status, body } = await readAnswer(await follow(url, requestOf('GET', {}, basic, options)))
  const found = status >= 200 && status < 300 ? readToken(body) : undefined
  return found && `Bearer ${found.token}`
}
