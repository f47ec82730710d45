import { setTimeout as sleep } from 'node:timers/promises'
import { describeError, InsituError } from '../errors.ts'
import type { Logger } from '../log.ts'
import { createBackoff, type BackoffOptions } from './backoff.ts'
import type { KubernetesClient } from './client.ts'
import { isExpired, isForbidden, KubernetesError, refusal } from './failure.ts'
import { splitLines } from './lines.ts'
import type { KubernetesObject, ObjectList, Status } from './objects.ts'
import { raceAbort } from './race-abort.ts'
import { describeRef, type Resource } from './resources.ts'

export interface WatchOptions<O extends KubernetesObject, T> {
  readonly client: KubernetesClient
  readonly resource: Resource
  /** Absent: all namespaces. */
  readonly namespace?: string | undefined
  readonly labelSelector?: string | undefined
  readonly fieldSelector?: string | undefined
  /**
   * Takes from an object what is to be kept: only that stays in memory. Undefined keeps nothing, and an object that
   * was kept before is then deleted.
   */
  readonly pick: (object: O) => T | undefined
  /** A new or changed object; unchanged ones come again after a relist. `key` is `namespace/name` or `name`. */
  readonly onUpsert?: (key: string, value: T, previous: T | undefined) => void
  readonly onDelete?: (key: string, previous: T) => void
  /** After the first complete list. */
  readonly onSynced?: () => void
  readonly logger: Logger
  /**
   * Milliseconds without a single byte after which the connection counts as dead and is replaced. The API server
   * sends a bookmark every 60 to 75 seconds, later when it is busy. Default 120,000.
   */
  readonly stallAfter?: number
  readonly backoff?: BackoffOptions
  readonly pageSize?: number
  readonly now?: () => number
}

export interface ResourceWatch<T> {
  readonly items: ReadonlyMap<string, T>
  /** True once all objects were listed. It stays true: old knowledge is better than none, `age` tells how old. */
  readonly synced: boolean
  /** Milliseconds since the server last said anything (a list, an event, a bookmark); Infinity before the first. */
  age(): number
  /** Times the stream had to be opened again, and lists that had to be repeated after the first. For metrics. */
  readonly reconnects: number
  readonly relists: number
  /** Settles when synced. @throws the signal's reason */
  whenSynced(signal?: AbortSignal): Promise<void>
  /** Ends the watch; no callback runs afterwards. */
  stop(): Promise<void>
}

interface WatchEvent<O> {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR'
  readonly object: O
}

/** The server ends each watch after this long on its own, so that connections move to new API servers. */
const serverTimeout = { min: 300, spread: 300 }

/** A server that has just started refuses everybody, until it has read who may do what. */
const refusalsInARow = 3

/**
 * Keeps a picture of all objects of one resource: lists them page by page, then follows changes, and begins again
 * wherever it was cut off. Lost connections, silent ones, expired versions and refusals are survived; refusals by
 * RBAC are logged once, with the fix, when several come in a row.
 */
export function watchResource<O extends KubernetesObject, T>(options: WatchOptions<O, T>): ResourceWatch<T> {
  const { client, resource, pick, logger, stallAfter = 120_000, now = Date.now } = options
  const what = describeRef(resource, { namespace: options.namespace })
  const items = new Map<string, T>()
  const stopped = new AbortController()
  const firstSync = Promise.withResolvers<void>()
  const backoff = createBackoff(options.backoff)
  // Of its own: who refuses is there again, however long it was away before.
  const refusals = createBackoff({ base: 1000, ...options.backoff })
  let version: string | undefined
  let synced = false
  let lastHeard = Number.NEGATIVE_INFINITY
  let reconnects = -1
  let relists = -1

  const set = (key: string, object: O): void => {
    const previous = items.get(key)
    const value = pick(object)
    if (value === undefined) return remove(key)
    items.set(key, value)
    options.onUpsert?.(key, value, previous)
  }
  const remove = (key: string): void => {
    const previous = items.get(key)
    if (previous === undefined) return
    items.delete(key)
    options.onDelete?.(key, previous)
  }
  const heard = (): void => {
    lastHeard = now()
    if (backoff.failures > 0 || refusals.failures > 0) {
      logger.info({ resource: what }, `the watch of ${what} works again`)
    }
    refusals.reset()
    backoff.reset()
  }

  async function list(): Promise<string> {
    relists += 1
    const missing = new Set(items.keys())
    const take = (object: O): void => {
      const key = keyOf(object)
      missing.delete(key)
      set(key, object)
    }
    let token: string | undefined
    let listed = ''
    do {
      const query = {
        namespace: options.namespace,
        labelSelector: options.labelSelector,
        fieldSelector: options.fieldSelector,
        limit: options.pageSize,
        continue: token,
        signal: stopped.signal,
      }
      const page: ObjectList<O> = await client.page<O>(resource, query, take)
      token = page.metadata?.continue || undefined
      listed = page.metadata?.resourceVersion ?? ''
    } while (token !== undefined)
    for (const key of missing) remove(key)
    heard()
    if (!synced) {
      synced = true
      options.onSynced?.()
      firstSync.resolve()
    }
    return listed
  }

  /** Follows one connection until it ends. Keeps `version` current, so that the next one goes on from there. */
  async function follow(): Promise<void> {
    reconnects += 1
    const connection = new AbortController()
    const onStop = (): void => connection.abort(stopped.signal.reason)
    stopped.signal.addEventListener('abort', onStop)
    const stall = (): void =>
      connection.abort(
        new InsituError('K8S_WATCH_STALLED', `the watch of ${what} was silent for ${stallAfter / 1000} s`),
      )
    let timer = setTimeout(stall, stallAfter)
    const restart = (): void => {
      clearTimeout(timer)
      timer = setTimeout(stall, stallAfter)
    }
    try {
      const stream = await client.openWatch(
        resource,
        options.namespace,
        {
          resourceVersion: version ?? '',
          allowWatchBookmarks: 'true',
          timeoutSeconds: String(Math.round(serverTimeout.min + Math.random() * serverTimeout.spread)),
          ...(options.labelSelector === undefined ? {} : { labelSelector: options.labelSelector }),
          ...(options.fieldSelector === undefined ? {} : { fieldSelector: options.fieldSelector }),
        },
        { signal: connection.signal, timeout: Math.min(30_000, stallAfter) },
      )
      for await (const line of splitLines(tap(stream, restart))) {
        if (stopped.signal.aborted) return
        if (line !== '') handle(JSON.parse(line) as WatchEvent<O>)
      }
    } catch (error) {
      throw connection.signal.aborted ? connection.signal.reason : error
    } finally {
      clearTimeout(timer)
      stopped.signal.removeEventListener('abort', onStop)
      connection.abort(new Error('the watch has ended'))
    }
  }

  function handle(event: WatchEvent<O>): void {
    if (event.type === 'ERROR') {
      const status = event.object as Status
      throw refusal({ verb: 'watch', what, server: client.server }, status.code ?? 500, status)
    }
    const key = keyOf(event.object)
    if (event.type === 'DELETED') remove(key)
    else if (event.type !== 'BOOKMARK') set(key, event.object)
    version = event.object.metadata?.resourceVersion ?? version
    heard()
  }

  /** Logs a failure and says how long to wait before the next try, in milliseconds. */
  function failed(error: unknown): number {
    if (isExpired(error)) {
      logger.info({ resource: what }, `the watch of ${what} was away too long: listing again`)
      version = undefined
      return backoff.next()
    }
    const first = backoff.failures === 0 && refusals.failures === 0
    const refused = isForbidden(error)
    const wait = refused ? refusals.next() : backoff.next()
    if (refused && refusals.failures === refusalsInARow) {
      logger.error({ resource: what, fix: (error as InsituError).fix }, describeError(error))
      return wait
    }
    logger[first ? 'warn' : 'debug']({ resource: what }, `the watch of ${what} broke: ${describeError(error)}`)
    return Math.max(wait, (error instanceof KubernetesError && error.retryAfter) || 0)
  }

  async function run(): Promise<void> {
    while (!stopped.signal.aborted) {
      let wait = 0
      const opened = now()
      try {
        version ??= await list()
        await follow()
        // An orderly end. A server that ends watches as soon as they begin must not make us spin.
        if (now() - opened < 1000) wait = backoff.next()
      } catch (error) {
        if (stopped.signal.aborted) return
        wait = failed(error)
      }
      if (wait > 0) await sleep(wait, undefined, { signal: stopped.signal }).catch(() => {})
    }
  }
  const running = run()

  return {
    items,
    get synced() {
      return synced
    },
    age: () => now() - lastHeard,
    get reconnects() {
      return Math.max(0, reconnects)
    },
    get relists() {
      return Math.max(0, relists)
    },
    whenSynced: (signal) => raceAbort(firstSync.promise, signal),
    async stop() {
      stopped.abort(new Error('stopped'))
      await running
    },
  }
}

/** Passes chunks on and tells of each. */
async function* tap(chunks: AsyncIterable<Uint8Array>, seen: () => void): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    seen()
    yield chunk
  }
}

function keyOf(object: KubernetesObject): string {
  const { namespace, name = '' } = object.metadata ?? {}
  // `join` makes one string; a template makes a tree of strings that stays in memory behind its flat copy.
  return namespace === undefined ? name : [namespace, name].join('/')
}
