import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Peer } from '../../api/images.ts'
import { describeError, InsituError } from '../../kernel/errors.ts'
import type { Logger } from '../../kernel/log.ts'
import { decompressor } from './compress.ts'
import type { Links } from './links.ts'
import type { PeerClient } from './peers.ts'
import { sizeHeader } from './serve-content.ts'

/** Content of other nodes, from whoever gives it. */
export interface RemoteContent {
  readonly repository: string
  readonly digest: string
  /** The peers that may have it now, the least busy first; asked again when all of them were of no use. */
  readonly peers: () => Promise<readonly Peer[]>
  /** The first peers are those of a while ago: that none of them has it says nothing yet. */
  readonly remembered?: boolean
}

export interface Opened {
  readonly peer: Peer
  /** Bytes of the whole blob. */
  readonly size: number
  readonly mediaType: string
  /** The blob from the offset on, plain. */
  readonly body: Readable
}

export interface Source {
  /**
   * Opens content at an offset at the first peer that has it and has time.
   * @throws InsituError CONTENT_NOWHERE (NOT_FOUND) when no peer has it, PEERS_FAILED (UNAVAILABLE) otherwise.
   */
  open(content: RemoteContent, kind: 'manifests' | 'blobs', offset: number): Promise<Opened>
  /** This peer gave wrong bytes: it is not asked for them again for a while. */
  blame(peer: Peer, digest: string): void
}

export interface SourceOptions {
  readonly client: PeerClient
  readonly links: Links
  readonly log: Logger
  readonly now?: () => number
  /** Milliseconds after which busy peers are told that it is urgent. Default 10,000: containerd waits 30 s. */
  readonly patience?: number
}

/** Milliseconds. */
const blameFor = 60_000
const pause = 200

/** Peers that are all busy say so by this status. */
export const busy = 503
export const urgentHeader = 'insitu-urgent'

export function createSource({ client, links, log, now = Date.now, patience = 10_000 }: SourceOptions): Source {
  const blamed = new Map<string, number>()
  const isBlamed = (peer: Peer, digest: string): boolean => (blamed.get(`${peer.node} ${digest}`) ?? 0) > now()

  const ask = async (
    peer: Peer,
    { repository, digest }: RemoteContent,
    kind: string,
    offset: number,
    urgent: boolean,
  ): Promise<Opened | 'missing' | 'busy'> => {
    const slash = repository.indexOf('/')
    const query = new URLSearchParams({ ns: repository.slice(0, slash) })
    const headers: Record<string, string> = {}
    if (offset > 0) headers['range'] = `bytes=${offset}-`
    else if (kind === 'blobs' && links.isSlow(peer.node)) headers['accept-encoding'] = 'zstd'
    if (urgent) headers[urgentHeader] = '1'
    const path = `/v2/${repository.slice(slash + 1)}/${kind}/${digest}?${query.toString()}`
    const answer = await client.get(peer, path, headers)
    const status = answer.statusCode ?? 0
    const size = Number(answer.headers[sizeHeader])
    if (status === (offset > 0 ? 206 : 200) && Number.isSafeInteger(size)) {
      const body = answer.headers['content-encoding'] === 'zstd' ? answer.pipe(decompressor()) : answer
      if (body !== answer) {
        answer.on('error', (error) => body.destroy(error))
        body.on('close', () => answer.destroy())
      }
      return { peer, size, body, mediaType: answer.headers['content-type'] ?? 'application/octet-stream' }
    }
    answer.destroy()
    if (status === 404) return 'missing'
    if (status === busy) return 'busy'
    throw new InsituError('PEER_FAILED', `the agent of ${peer.node} answers ${status}`, { status: 'UNAVAILABLE' })
  }
  return {
    async open(content, kind, offset) {
      const { digest } = content
      const begun = now()
      let failure: unknown
      for (let round = 0; ; round += 1) {
        const peers = (await content.peers()).filter((peer) => !isBlamed(peer, digest))
        let waits = false
        for (const peer of peers) {
          const found = await ask(peer, content, kind, offset, now() - begun > patience).catch((error: unknown) => {
            log.warn({ peer: peer.node, digest, err: describeError(error) }, 'a node does not give what it has')
            failure = error
            return 'failed' as const
          })
          if (typeof found === 'object') return found
          waits ||= found === 'busy'
        }
        const enough = failure === undefined ? !content.remembered || round > 0 : round >= 2
        if (!waits && enough) break
        if (waits || failure !== undefined) await sleep(pause)
      }
      if (failure === undefined) {
        throw new InsituError('CONTENT_NOWHERE', `no node has ${digest}`, { status: 'NOT_FOUND' })
      }
      throw new InsituError('PEERS_FAILED', `${digest} cannot be read from any node`, {
        status: 'UNAVAILABLE',
        cause: failure,
      })
    },
    blame(peer, digest) {
      for (const [key, until] of blamed) if (until < now()) blamed.delete(key)
      blamed.set(`${peer.node} ${digest}`, now() + blameFor)
      log.error({ peer: peer.node, digest }, 'a node sent bytes that are not what their digest says')
    },
  }
}
