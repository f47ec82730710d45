import type { IncomingMessage, ServerResponse } from 'node:http'
import { describeError, InsituError } from '../../kernel/errors.ts'
import type { Logger } from '../../kernel/log.ts'
import { contentHeaders, endPull, notFound, sendError } from './answer.ts'
import type { BuiltContent } from './built-content.ts'
import type { ContentStore } from './content.ts'
import { type NamesOptions, resolveName } from './names.ts'
import { relayBlob, type RelayOptions } from './relay-blob.ts'
import type { Remote } from './remote.ts'
import { serveContent } from './serve-content.ts'
import type { Ordinary } from './ordinary/ordinary.ts'
import { serialHold } from './serial-pulls.ts'
import { nextHop, parseTarget, type Target } from './target.ts'
import { createTurns } from './turns.ts'

export interface RequestsOptions extends NamesOptions, Omit<RelayOptions, 'onCorrupt' | 'onBytes'> {
  readonly built: BuiltContent
  readonly store: ContentStore
  readonly remote: Remote
  /** Images that insitu did not build; undefined: they are the registries' alone. */
  readonly ordinary?: Ordinary | undefined
  readonly log: Logger
  /** Milliseconds for which one request waits for a build. Default 27,000: containerd gives a mirror 30 s. */
  readonly hold?: number
  /** The node's pulls come one at a time: one is held for long only while no other pod waits for an image. */
  readonly serial?: boolean
  /** Redirects after which a held pull is let go. Default 9: Go's client follows as many. */
  readonly mostHops?: number
  /** Throws away what containerd has of a blob that came wrong. */
  readonly discard: (digest: string) => Promise<void>
  /** Told of bytes of other nodes as they pass. */
  readonly count?: (repository: string, bytes: number) => void
}

/** Answers the requests of this node's containerd. */
export function createRequests(options: RequestsOptions) {
  const { built, store, remote, ordinary, log, hold = 27_000, mostHops = 9 } = options
  const corrupt = new Set<string>()
  const turns = createTurns()

  const tag = async (
    request: IncomingMessage,
    response: ServerResponse,
    url: URL,
    target: Extract<Target, { kind: 'tag' }>,
  ): Promise<void> => {
    const { repository, hop } = target
    const name = `${repository}:${target.tag}`
    const { serial = false } = options
    const first = serial && hop === 0
    const waiting = { serial: serial && !first, held: hop > 0 }
    const resolved = await resolveName(name, first ? Math.min(hold, serialHold) : hold, options, waiting)
    switch (resolved.kind) {
      case 'none':
        remote.unknown(repository)
        return others(request, response, repository, target.tag)
      case 'failed':
        return endPull(response, `the build of ${name} failed: ${resolved.reason}`)
      case 'building':
        if (resolved.crowded) {
          return endPull(response, `${name} is still being built, and other pods of this node wait for their images`)
        }
        if (hop < mostHops) return void response.writeHead(307, { location: nextHop(url, hop) }).end()
        return endPull(response, `${name} is still being built; it is waited for again with the next try`)
      case 'local':
        return local(request, response, resolved.digest)
      case 'remote': {
        const { digest } = resolved.image
        const nodes = resolved.peers.map(({ node }) => node).join(', ')
        const found = await remote.manifest(repository, digest, resolved.peers).catch((error: unknown) => {
          log.warn({ name, nodes, err: describeError(error) }, 'no node gives an image that was built')
        })
        if (found) return send(request, response, digest, found)
        // A registry that it was pushed to is the next to be asked: a node that is away must not keep pods from starting.
        return sendError(
          response,
          503,
          'UNAVAILABLE',
          `${name} was built, and no node gives it now: ${nodes || 'none'}`,
        )
      }
    }
  }
  /** What insitu did not build. */
  const others = async (
    request: IncomingMessage,
    response: ServerResponse,
    repository: string,
    reference: string,
  ): Promise<void> => {
    const accept = request.headers.accept ?? '*/*'
    if (request.method === 'HEAD') {
      const { digest, mediaType, size } = (await ordinary?.resolve(repository, reference, accept)) ?? {}
      if (digest === undefined || mediaType === undefined || size === undefined) return notFound(response)
      return void response.writeHead(200, contentHeaders(digest, mediaType, size)).end()
    }
    const digest = reference.includes(':')
      ? reference
      : (await ordinary?.resolve(repository, reference, accept))?.digest
    const found = digest === undefined ? undefined : await ordinary?.manifest(repository, digest, accept)
    return found && digest !== undefined ? send(request, response, digest, found) : notFound(response)
  }
  const local = async (request: IncomingMessage, response: ServerResponse, digest: string): Promise<void> => {
    const descriptor = await built.descriptor(digest)
    if (!descriptor) return notFound(response)
    await serveContent(request, response, descriptor, store, false)
  }
  const send = (
    request: IncomingMessage,
    response: ServerResponse,
    digest: string,
    { mediaType, bytes }: { readonly mediaType: string; readonly bytes: Buffer },
  ): void => {
    response.writeHead(200, contentHeaders(digest, mediaType, bytes.length))
    response.end(request.method === 'HEAD' ? undefined : bytes)
  }
  const blob = async (request: IncomingMessage, response: ServerResponse, repository: string, digest: string) => {
    if (corrupt.has(digest)) {
      // What containerd has of it is wrong: nothing can be added to that.
      if (request.headers.range !== undefined) {
        await options.discard(digest)
        return notFound(response)
      }
      corrupt.delete(digest)
    }
    const foreign = ordinary?.blob(repository, digest)
    const content = foreign ?? (await remote.blob(repository, digest))
    if (!content) return notFound(response)
    if (!foreign && request.method === 'GET') {
      // The pod of this pull needs it; that other nodes could have it from here is less.
      await options.records.arrivingContent?.(digest).catch((error: unknown) => {
        log.warn({ digest, err: describeError(error) }, 'a layer that comes from another node may not stay on this one')
      })
    }
    const onCorrupt = (wrong: string): void => {
      corrupt.add(wrong)
      setTimeout(() => void options.discard(wrong), 1000).unref()
    }
    const onBytes = (bytes: number): void => options.count?.(repository, bytes)
    const place = request.method === 'GET' ? remote.position(digest) : undefined
    const end = place && (await turns.begin(place.image, place.index))
    try {
      if (!response.destroyed) await relayBlob(request, response, content, { ...options, onCorrupt, onBytes })
    } finally {
      end?.()
    }
  }

  return async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = URL.parse(request.url ?? '/', 'http://mirror')
    if (!url) return sendError(response, 400, 'UNSUPPORTED', 'this is no address of a registry')
    try {
      if (request.method !== 'GET' && request.method !== 'HEAD') {
        response.setHeader('allow', 'GET, HEAD')
        return sendError(response, 405, 'UNSUPPORTED', 'this registry is read-only')
      }
      const target = parseTarget(url)
      if (target.kind === 'api') return void response.writeHead(200, { 'content-length': 0 }).end()
      if (target.kind === 'tag') return await tag(request, response, url, target)
      if (target.kind === 'referrers' || target.kind === 'unknown') return notFound(response)
      const { repository, digest } = target
      const descriptor = await built.descriptor(digest)
      if (descriptor && (await store.size(digest)) !== undefined) return await local(request, response, digest)
      if (target.kind === 'blob') return await blob(request, response, repository, digest)
      const found = await remote.manifest(repository, digest)
      return found ? send(request, response, digest, found) : await others(request, response, repository, digest)
    } catch (error) {
      if (response.headersSent) response.destroy()
      else if (error instanceof InsituError && error.status === 'NOT_FOUND') notFound(response)
      else sendError(response, 502, 'UNKNOWN', error instanceof Error ? error.message : 'failed')
      const gone = request.destroyed || response.destroyed
      log[gone ? 'debug' : 'warn']({ err: error, path: url.pathname }, 'a pull through the mirror failed')
    }
  }
}
