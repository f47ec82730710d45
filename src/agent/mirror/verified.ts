import { createHash } from 'node:crypto'
import type { Peer } from '../../api/images.ts'
import { describeError, InsituError } from '../../kernel/errors.ts'
import type { Logger } from '../../kernel/log.ts'
import type { Links } from './links.ts'
import { piecesOf } from './pieces.ts'
import type { Opened, RemoteContent, Source } from './source.ts'

export interface VerifiedOptions {
  readonly source: Source
  readonly links: Links
  readonly log: Logger
}

/** Changes of peer within one blob: more of them mean that something else is wrong. */
const mostBreaks = 20

/** Blobs up to this size are checked before their first byte is given on, so that another peer can be used instead. */
export const smallBlob = 4 << 20

const pieceSize = 256 << 10

/**
 * The bytes of a blob from an offset on, out of one peer after the other: one that breaks off is replaced by another
 * at the very byte. A piece is valid until the next but one is asked for. From offset 0 on they are hashed while they flow, and the last piece is held back until the digest is proved.
 * @param first what `source.open` gave.
 * @throws InsituError DIGEST_MISMATCH (DATA_LOSS) instead of the last piece; what `source.open` throws.
 */
export async function* verifiedBytes(
  content: RemoteContent,
  first: Opened,
  offset: number,
  { source, links, log }: VerifiedOptions,
): AsyncGenerator<Buffer> {
  const { digest } = content
  const hash = offset === 0 ? createHash(digest.split(':')[0] ?? 'sha256') : undefined
  const used = new Map<string, Peer>()
  let at = offset
  let held: Buffer | undefined
  let current = first
  try {
    for (let breaks = 0; ; breaks += 1) {
      used.set(current.peer.node, current.peer)
      const begun = performance.now()
      const from = at
      try {
        for await (const piece of piecesOf(current.body, Math.min(pieceSize, Math.max(first.size - at, 1)))) {
          at += piece.length
          if (at > first.size) throw new Error('more bytes than the blob has')
          hash?.update(piece)
          if (held) yield held
          held = piece
        }
        if (at < first.size) throw new Error('the connection ended early')
        // Held back by a slow reader it measures that one; then it only costs a little compression.
        links.measured(current.peer.node, at - from, performance.now() - begun)
        break
      } catch (error) {
        if (at > first.size || breaks >= mostBreaks) throw error
        log.warn(
          { peer: current.peer.node, digest, at, err: describeError(error) },
          'a transfer broke and goes on elsewhere',
        )
        if (at === first.size) break
        current = await source.open(content, 'blobs', at)
      }
    }
    if (hash && `${digest.split(':')[0]}:${hash.digest('hex')}` !== digest) {
      for (const peer of used.values()) source.blame(peer, digest)
      throw new InsituError('DIGEST_MISMATCH', `what came for ${digest} is something else`, { status: 'DATA_LOSS' })
    }
    if (held) yield held
  } finally {
    current.body.destroy()
  }
}

/**
 * A small blob or a manifest as a whole, from the first peer whose bytes are right.
 * @throws as `verifiedBytes`
 */
export async function readVerified(
  content: RemoteContent,
  kind: 'manifests' | 'blobs',
  options: VerifiedOptions,
  first?: Opened,
): Promise<Buffer> {
  for (let opened = first; ; opened = undefined) {
    const chunks: Buffer[] = []
    opened ??= await options.source.open(content, kind, 0)
    try {
      for await (const chunk of verifiedBytes(content, opened, 0, options)) chunks.push(Buffer.from(chunk))
      return Buffer.concat(chunks)
    } catch (error) {
      // The one who sent it is blamed by now and is not asked again.
      if (!(error instanceof InsituError && error.code === 'DIGEST_MISMATCH')) throw error
    }
  }
}
