import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import type { Peer } from '../../api/images.ts'
import { describeError, InsituError } from '../../kernel/errors.ts'
import type { Logger } from '../../kernel/log.ts'
import { maxManifest } from './content.ts'
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
 * A small blob or a manifest as a whole, from the first peer whose bytes are right: into memory of its size, each byte copied
 * once. Pieces of their own, and copies of them, would be a third of what a layer of some MB costs here.
 * @throws what `source.open` throws.
 */
export async function readVerified(
  content: RemoteContent,
  kind: 'manifests' | 'blobs',
  { source, log }: VerifiedOptions,
  first?: Opened,
): Promise<Buffer> {
  const { digest } = content
  const [algorithm = ''] = digest.split(':')
  let current = first ?? (await source.open(content, kind, 0))
  for (;;) {
    // All that is read as a whole is smaller: a peer that says more is not believed.
    if (current.size > maxManifest) throw tooLarge(current)
    const whole = Buffer.allocUnsafeSlow(current.size)
    const used = new Map<string, Peer>()
    let at = 0
    for (let breaks = 0; ; breaks += 1) {
      used.set(current.peer.node, current.peer)
      try {
        await copyInto(whole.subarray(at), current.body, (bytes) => (at += bytes))
        break
      } catch (error) {
        current.body.destroy()
        if (breaks >= mostBreaks) throw error
        const why = describeError(error)
        log.warn({ peer: current.peer.node, digest, at, err: why }, 'a transfer broke and goes on elsewhere')
        if (at === whole.length) break
        current = await source.open(content, kind, at)
      }
    }
    if (`${algorithm}:${createHash(algorithm).update(whole).digest('hex')}` === digest) return whole
    // Whoever sent it is blamed and is not asked again.
    for (const peer of used.values()) source.blame(peer, digest)
    current = await source.open(content, kind, 0)
  }
}

function tooLarge({ peer, size, body }: Opened): InsituError {
  body.destroy()
  return new InsituError('PEERS_FAILED', `the agent of ${peer.node} gives ${size} bytes where a few MB were expected`, {
    status: 'UNAVAILABLE',
  })
}

/** Fills memory from a stream. @throws what breaks it, or when it has fewer or more bytes. */
function copyInto(memory: Buffer, body: Readable, onBytes: (bytes: number) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    let at = 0
    body.on('data', (chunk: Buffer) => {
      const copied = chunk.copy(memory, at)
      at += copied
      onBytes(copied)
      if (copied < chunk.length) body.destroy(new Error('more bytes than the blob has'))
    })
    body.once('end', () => (at === memory.length ? resolve() : reject(new Error('the connection ended early'))))
    body.once('error', reject)
    body.once('close', () => reject(new Error('the connection ended early')))
  })
}
