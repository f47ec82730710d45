import { agentPaths } from '../../api/agent-api.ts'
import type { Handler } from '../front/handlers.ts'
import { notFound, sendError } from './answer.ts'
import type { BuiltContent, BuiltRecords } from './built-content.ts'
import type { ContentStore } from './content.ts'
import type { LabelledContent } from './ordinary/labelled-content.ts'
import { serveContent } from './serve-content.ts'
import { busy, urgentHeader } from './source.ts'
import { parseTarget } from './target.ts'
import type { Uploads } from './uploads.ts'

export interface PeerHandlerOptions {
  readonly records: BuiltRecords
  readonly built: BuiltContent
  readonly store: ContentStore
  readonly uploads: Uploads
  /** What this node has pulled itself is given, too: whoever asks has asked the registry first. */
  readonly pulled?: LabelledContent | undefined
}

/** Content below this needs no turn. */
const small = 1 << 20

/** OCI distribution for other agents: what is on this node, nothing that would have to be fetched. */
export const peerHandler = ({ records, built, store, uploads, pulled }: PeerHandlerOptions): Handler => ({
  methods: ['GET', 'HEAD'],
  path: agentPaths.registry,
  allow: ['agent', 'gateway'],
  async handle(request, response, { url }) {
    const target = parseTarget(url)
    if (target.kind === 'api') return void response.writeHead(200, { 'content-length': 0 }).end()
    if (target.kind === 'referrers' || target.kind === 'unknown') return notFound(response)
    const digest = target.kind === 'tag' ? records.find(`${target.repository}:${target.tag}`)?.digest : target.digest
    if (digest === undefined) return notFound(response)
    const descriptor = (await built.descriptor(digest)) ?? (await pulled?.descriptor(target.repository, digest))
    if (!descriptor) return notFound(response)
    const needsTurn = request.method === 'GET' && descriptor.size > small
    const client = request.socket.remoteAddress ?? ''
    const end = needsTurn ? uploads.begin(client, request.headers[urgentHeader] !== undefined) : () => {}
    if (!end) {
      response.setHeader('retry-after', '1')
      return sendError(response, busy, 'TOOMANYREQUESTS', 'other nodes read from here now')
    }
    try {
      await serveContent(request, response, descriptor, store, true)
    } catch (error) {
      // A reader that leaves is nobody's failure.
      if (!response.destroyed) throw error
    } finally {
      end()
    }
  },
})
