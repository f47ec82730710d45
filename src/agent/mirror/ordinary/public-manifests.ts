import { describeError } from '../../../kernel/errors.ts'
import type { HttpAnswer } from '../../../kernel/http/answer.ts'
import { readChallenge } from '../../../kernel/http/challenge.ts'
import { readToken } from '../../../kernel/http/token.ts'
import type { Logger } from '../../../kernel/log.ts'
import type { OriginClient } from './ask-origin.ts'
import type { OriginHost } from './origin-hosts.ts'

/** A manifest or an index that a registry gives to everybody. */
export interface PublicManifest {
  readonly digest: string
  readonly mediaType: string
  readonly size: number
}

/** Asks registries what they give to somebody without any credentials. */
export interface PublicManifests {
  /**
   * @param reference a tag or a digest.
   * @param accept the media types that containerd takes.
   * @returns undefined when the registry refuses it, does not have it or cannot be asked. Never rejects.
   */
  head(repository: string, reference: string, accept: string): Promise<PublicManifest | undefined>
}

export interface PublicManifestsOptions {
  readonly client: OriginClient
  readonly hosts: (registry: string) => Promise<readonly OriginHost[]>
  readonly log: Logger
  readonly now?: () => number
  /** Milliseconds for all servers of a registry. Default 4,000. */
  readonly timeout?: number
}

/** Milliseconds for which a registry that did not answer is not asked again: each pull would wait for it. */
const silence = 60_000
const redirects = 5

const digestSyntax = /^sha256:[0-9a-f]{64}$|^sha512:[0-9a-f]{128}$/

export function publicManifests(options: PublicManifestsOptions): PublicManifests {
  const { client, hosts, log, now = Date.now, timeout = 4000 } = options
  const silent = new Map<string, number>()
  const tokens = new Map<string, { readonly token: string; readonly until: number }>()

  const tokenFor = async (host: OriginHost, path: string, answer: HttpAnswer, signal: AbortSignal) => {
    const challenge = readChallenge(answer.headers['www-authenticate'])
    if (challenge?.scheme !== 'bearer') return undefined
    const url = new URL(challenge.realm)
    url.searchParams.set('service', challenge.service)
    url.searchParams.set('scope', challenge.scope ?? `repository:${path}:pull`)
    const known = tokens.get(url.href)
    if (known && known.until > now()) return known.token
    const { status, body } = await client.ask(url, host, { method: 'GET', headers: {}, signal })
    const given = status === 200 ? readToken(body) : undefined
    if (!given) return undefined
    for (const [key, { until }] of tokens) if (until <= now()) tokens.delete(key)
    tokens.set(url.href, { token: given.token, until: now() + given.life * 0.8 })
    return given.token
  }

  const headAt = async (host: OriginHost, path: string, reference: string, accept: string, signal: AbortSignal) => {
    let url = new URL(`${host.base}/${path}/manifests/${reference}`)
    let authorization: string | undefined
    for (let turn = 0; turn <= redirects; turn += 1) {
      const headers = { accept, ...(authorization === undefined ? {} : { authorization }) }
      const answer = await client.ask(url, host, { method: 'HEAD', headers, signal })
      const { location } = answer.headers
      if (answer.status >= 300 && answer.status < 400 && location !== undefined) {
        const next = new URL(location, url)
        if (next.host !== url.host) authorization = undefined
        url = next
      } else if (answer.status === 401 && authorization === undefined) {
        const token = await tokenFor(host, path, answer, signal)
        if (token === undefined) return answer
        authorization = `Bearer ${token}`
      } else return answer
    }
    return undefined
  }

  return {
    async head(repository, reference, accept) {
      const slash = repository.indexOf('/')
      const [registry, path] = [repository.slice(0, slash), repository.slice(slash + 1)]
      if ((silent.get(registry) ?? 0) > now()) return undefined
      const signal = AbortSignal.timeout(timeout)
      try {
        for (const host of await hosts(registry)) {
          const answer = await headAt(host, path, reference, accept, signal)
          // As containerd: the next one is asked for what this one does not have. Whoever refuses it has decided.
          if (answer?.status === 404) continue
          return answer?.status === 200 ? readManifest(answer, reference) : undefined
        }
        return undefined
      } catch (error) {
        silent.set(registry, now() + silence)
        log.info({ registry, err: describeError(error) }, 'a registry cannot be asked: its images are not served')
        return undefined
      }
    },
  }
}

function readManifest({ headers }: HttpAnswer, reference: string): PublicManifest | undefined {
  const digest = headers['docker-content-digest'] ?? (digestSyntax.test(reference) ? reference : undefined)
  const [mediaType = ''] = (headers['content-type'] ?? '').split(';')
  const size = Number(headers['content-length'])
  if (typeof digest !== 'string' || !digestSyntax.test(digest) || !Number.isSafeInteger(size)) return undefined
  if (digestSyntax.test(reference) && reference !== digest) return undefined
  return { digest, mediaType, size }
}
