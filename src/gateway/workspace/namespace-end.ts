import { tokenAudience } from '../../api/names.ts'
import { namespaceEndPath, type NamespaceEndResponse } from '../../api/workspace.ts'
import { describeError } from '../../kernel/errors.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import { resources } from '../../kernel/k8s/resources.ts'
import type { Logger } from '../../kernel/log.ts'
import { identify } from '../certificate/identify.ts'
import type { HttpHandlers, HttpResponse } from '../relay/http.ts'
import { bearerToken, json, refusal, tokenMissing } from '../relay/json.ts'

export interface NamespaceEndOptions {
  readonly client: Pick<KubernetesClient, 'reviewToken' | 'list'>
  /** Where insitu lives. */
  readonly namespace: string
  readonly logger: Logger
}

/** Each question costs the API server two: more at a time are put off. */
const mostAtOnce = 32

/**
 * Answers `POST /v1/namespace-end` (src/api/workspace.ts): 200, 401, 403, or 503 when the cluster cannot be asked. The
 * API server is asked each time: what a watch has told may be a moment old, and then a directory would stay for good.
 */
export function namespaceEndHandlers({ client, namespace: ours, logger }: NamespaceEndOptions): HttpHandlers {
  let busy = 0
  async function ask(token: string): Promise<HttpResponse> {
    const who = identify(await client.reviewToken(token, [tokenAudience]), ours)
    if (!who.ok) return refusal(who.status, who.message)
    if (who.kind === 'agent') return refusal(403, 'an agent is no pod of a Build')
    const fieldSelector = `metadata.name=${who.namespace}`
    const [found] = await client.list(resources.namespaces, { fieldSelector })
    return json(200, { ends: found?.metadata?.deletionTimestamp !== undefined } satisfies NamespaceEndResponse)
  }
  return {
    [`POST ${namespaceEndPath}`]: async ({ headers }) => {
      const token = bearerToken(headers)
      if (token === undefined) return tokenMissing
      if (busy >= mostAtOnce) return refusal(503, 'too many ask at the moment; try again')
      busy += 1
      try {
        return await ask(token)
      } catch (error) {
        logger.error(`whether a namespace ends could not be asked: ${describeError(error)}`)
        return refusal(503, 'the cluster cannot be asked at the moment; try again')
      } finally {
        busy -= 1
      }
    },
  }
}
