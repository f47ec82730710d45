import type { CertificateRequest, CertificateResponse } from '../../api/certificate.ts'
import { tokenAudience } from '../../api/names.ts'
import { describeError, InsituError } from '../../kernel/errors.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import type { Logger } from '../../kernel/log.ts'
import { issueLeaf } from '../../kernel/tls/ca.ts'
import type { HttpRequest, HttpResponse } from '../relay/http.ts'
import { bearerToken, json, refusal, tokenMissing } from '../relay/json.ts'
import type { ClusterAuthority } from './authority.ts'
import { identify } from './identify.ts'
import { leafFor, mayNotBuild } from './issue.ts'

export interface CertificateHandlerOptions {
  readonly client: KubernetesClient
  readonly namespace: string
  readonly authority: () => Promise<ClusterAuthority>
  readonly log: Logger
  /** Milliseconds that certificates of clients live. Default an hour. */
  readonly clientLifetime?: number | undefined
  readonly now?: () => Date
}

/** Everybody who reaches the port may ask, and each question costs the API server one: more at a time are put off. */
const mostAtOnce = 32

/** Answers `POST /v1/certificate` (src/api/certificate.ts): 200, 400, 401, 403, or 503 when the cluster cannot be asked. */
export function certificateHandler(options: CertificateHandlerOptions) {
  let busy = 0
  return async ({ headers, body }: Pick<HttpRequest, 'headers' | 'body'>): Promise<HttpResponse> => {
    const token = bearerToken(headers)
    if (token === undefined) return tokenMissing
    const publicKey = requestedKey(body)
    if (publicKey === undefined) return refusal(400, 'the body must be {"publicKey": "-----BEGIN PUBLIC KEY-----…"}')
    if (busy >= mostAtOnce) return refusal(503, 'too many ask for certificates at the moment; try again')
    busy += 1
    try {
      const review = await options.client.reviewToken(token, [tokenAudience])
      const who = identify(review, options.namespace)
      if (!who.ok) {
        options.log.warn({ status: who.status }, `no certificate given: ${who.message}`)
        return refusal(who.status, who.message)
      }
      const forbidden = await mayNotBuild(options.client, who, review)
      if (forbidden !== undefined) {
        options.log.warn({ status: 403 }, `no certificate given: ${forbidden}`)
        return refusal(403, forbidden)
      }
      const authority = await options.authority()
      const leaf = await issueLeaf({
        authority: authority.signing,
        publicKey,
        ...leafFor(who, options.namespace, options.clientLifetime),
        ...(options.now ? { now: options.now() } : {}),
      })
      const { ok: _, ...named } = who
      options.log.info({ ...named, notAfter: leaf.notAfter.toISOString() }, 'certificate given')
      return json(200, {
        certificate: leaf.cert,
        ca: authority.bundle,
        notAfter: leaf.notAfter.toISOString(),
      } satisfies CertificateResponse)
    } catch (error) {
      if (error instanceof InsituError && error.code === 'BAD_PUBLIC_KEY') return refusal(400, error.message)
      options.log.error(`a certificate could not be made: ${describeError(error)}`)
      return refusal(503, 'the cluster cannot be asked at the moment; try again')
    } finally {
      busy -= 1
    }
  }
}

function requestedKey(body: Buffer): string | undefined {
  try {
    const { publicKey } = JSON.parse(body.toString('utf8')) as Partial<CertificateRequest>
    return typeof publicKey === 'string' ? publicKey : undefined
  } catch {
    return undefined
  }
}
