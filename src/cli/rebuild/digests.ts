import { createHash } from 'node:crypto'
import { parseReference } from '../../buildkit/reference.ts'
import { readChallenge } from '../../kernel/http/challenge.ts'
import { readToken } from '../../kernel/http/token.ts'
import { describeError } from '../../kernel/errors.ts'
import type { Credentials } from './credentials.ts'
import type { Current } from './plan.ts'

export interface RegistryOptions {
  /** Registries (host or host:port) that are reached elsewhere than at https://HOST: by URL. */
  readonly registries: ReadonlyMap<string, string>
  readonly credentials: Credentials
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

/** fetch says what happened in the cause. */
const reasonOf = (error: unknown): string => {
  const { name, cause } = error as { readonly name?: string; readonly cause?: unknown }
  return name === 'TimeoutError' ? 'the registry does not answer' : describeError(cause ?? error)
}

async function ask(name: string, options: RegistryOptions): Promise<Current> {
  const { domain, path, tag } = parseReference(name)
  const base = options.registries.get(domain) ?? `https://${domain === 'docker.io' ? 'registry-1.docker.io' : domain}`
  const url = `${base.replace(/\/$/, '')}/v2/${path}/manifests/${tag ?? 'latest'}`
  const request = (method: 'HEAD' | 'GET', authorization: string | undefined): Promise<Response> =>
    fetch(url, {
      method,
      headers: { accept, ...(authorization === undefined ? {} : { authorization }) },
      signal: signalOf(options),
    })
  let authorization: string | undefined
  let answer = await request('HEAD', authorization)
  if (answer.status === 401) {
    authorization = await authorize(answer.headers.get('www-authenticate'), domain, path, options)
    if (authorization !== undefined) answer = await request('HEAD', authorization)
  }
  if (answer.status === 401 || answer.status === 403) {
    return {
      error: `what ${name} is now cannot be asked: the registry wants other credentials (HTTP ${answer.status})`,
    }
  }
  if (answer.status === 404) return { error: `${name} is not in its registry any more` }
  if (!answer.ok) return { error: `what ${name} is now cannot be asked: HTTP ${answer.status}` }
  const digest = answer.headers.get('docker-content-digest')
  if (digest !== null) return { digest }
  const body = Buffer.from(await (await request('GET', authorization)).arrayBuffer())
  return { digest: `sha256:${createHash('sha256').update(body).digest('hex')}` }
}

const signalOf = ({ signal, timeout = 20_000 }: RegistryOptions): AbortSignal =>
  AbortSignal.any([signal, AbortSignal.timeout(timeout)])

async function authorize(
  header: string | null,
  domain: string,
  path: string,
  options: RegistryOptions,
): Promise<string | undefined> {
  const challenge = readChallenge(header ?? undefined)
  const basic = options.credentials.basic(domain)
  if (challenge?.scheme !== 'bearer') return challenge && basic
  const url = new URL(challenge.realm)
  if (challenge.service !== '') url.searchParams.set('service', challenge.service)
  url.searchParams.set('scope', challenge.scope ?? `repository:${path}:pull`)
  const answer = await fetch(url, {
    headers: basic === undefined ? {} : { authorization: basic },
    signal: signalOf(options),
  })
  if (!answer.ok) return undefined
  const found = readToken(await answer.text())
  return found && `Bearer ${found.token}`
}
