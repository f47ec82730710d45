import { agentPaths } from '../../api/agent-api.ts'
import type { BuiltImage } from '../../api/images.ts'
import { normalizeReference } from '../../buildkit/reference.ts'
import { describeError } from '../../kernel/errors.ts'
import { type Backoff, createBackoff } from '../../kernel/k8s/backoff.ts'
import type { Logger } from '../../kernel/log.ts'
import type { Agent } from '../directory/agent.ts'
import type { ImageIndex } from './index.ts'
import type { OrdinaryImages } from './ordinary-images.ts'

export interface InventoriesOptions {
  readonly index: ImageIndex
  readonly ordinary?: OrdinaryImages
  /** Asks the agent for a path of its API. */
  readonly ask: (agent: Agent, path: string) => Promise<unknown>
  readonly logger: Logger
  /** Agents that are read at the same time. Default 16. */
  readonly atOnce?: number
  readonly backoff?: () => Backoff
  /** Milliseconds since 1970. */
  readonly now?: () => number
}

/** Keeps the index like the agents say it is. */
export interface Inventories {
  /** The agent of a node came, changed or went. */
  agent(node: string, agent: Agent | undefined): void
  /** Agents whose inventory is wanted and not read yet. */
  readonly pending: number
  /** Agents that were not asked yet, or have not answered yet, since they appeared. One that failed once is not among them. */
  readonly unread: number
  /**
   * Nodes that had the name when their agent went, and of which no inventory was read since: between two pods of an agent
   * nobody says what is on its node.
   * @param most milliseconds since then, two minutes at most.
   */
  awaited(name: string, most?: number): readonly string[]
  stop(): void
}

/** Milliseconds that the next agent of a node has to say what is there. */
const between = 120_000

/** Images of a node that insitu did not build; more than a node has. */
const mostOrdinary = 1000

interface Followed {
  /** The pod and the revision that is read, or is to be read. */
  key: string
  agent: Agent
  backoff: Backoff
  timer?: NodeJS.Timeout | undefined
  reading: boolean
  /** It was read, or could not be. */
  tried: boolean
}

/** Reads the inventory of each agent that appears or says that it changed; what fails is tried again until it goes. */
export function followInventories(options: InventoriesOptions): Inventories {
  const { index, ask, logger, atOnce = 16, backoff = () => createBackoff({ base: 500, max: 30_000 }) } = options
  const { now = Date.now } = options
  const followed = new Map<string, Followed>()
  const queue = new Set<string>()
  const left = new Map<string, { readonly names: ReadonlySet<string>; readonly since: number }>()
  let running = 0
  let stopped = false

  const next = (): void => {
    for (const node of queue) {
      if (running >= atOnce || stopped) return
      const one = followed.get(node)
      if (one?.reading) continue
      queue.delete(node)
      if (one) void read(node, one)
    }
  }
  const read = async (node: string, one: Followed): Promise<void> => {
    const { key, agent } = one
    running += 1
    one.reading = true
    const take = index.reading(node)
    let images: readonly BuiltImage[] | undefined
    try {
      const said = await ask(agent, agentPaths.images)
      images = parseInventory(said)
      if (!stopped && followed.get(node) === one) options.ordinary?.set(node, parseOrdinary(said))
      one.backoff.reset()
    } catch (error) {
      const failures = one.backoff.failures + 1
      logger[failures === 5 ? 'warn' : 'debug'](
        { node, err: describeError(error) },
        'the images of a node are not known',
      )
    }
    running -= 1
    one.reading = false
    one.tried = true
    const current = !stopped && followed.get(node) === one
    if (current && images) left.delete(node)
    // What could not be read is left as it was: better an old answer than none.
    take(current && images ? images : index.of(node))
    if (!followed.has(node)) index.forget(node)
    if (current && one.key === key && !images) {
      one.timer = setTimeout(() => {
        queue.add(node)
        next()
      }, one.backoff.next()).unref()
    }
    next()
  }

  /** Keeps aside what a node has. One whose agent goes again before it was read had what it had before. */
  const leave = (node: string): void => {
    for (const [other, { since }] of left) if (since + between <= now()) left.delete(other)
    const names = new Set(index.of(node).map(({ name }) => name))
    if (names.size > 0) left.set(node, { names, since: now() })
  }

  return {
    agent(node, agent) {
      const known = followed.get(node)
      if (!agent) {
        clearTimeout(known?.timer)
        followed.delete(node)
        queue.delete(node)
        options.ordinary?.set(node, [])
        leave(node)
        return index.forget(node)
      }
      if (agent.ip === undefined) return
      const key = `${agent.uid} ${agent.ip} ${agent.report?.imagesRevision ?? ''}`
      if (known?.key === key) return
      clearTimeout(known?.timer)
      const one = known ?? { key, agent, backoff: backoff(), reading: false, tried: false }
      Object.assign(one, { key, agent, timer: undefined })
      followed.set(node, one)
      queue.add(node)
      next()
    },
    get pending() {
      return queue.size + running
    },
    get unread() {
      return [...followed.values()].filter(({ tried }) => !tried).length
    },
    awaited: (name, most = between) =>
      [...left].flatMap(([node, { names, since }]) => (names.has(name) && now() < since + most ? [node] : [])),
    stop() {
      stopped = true
      for (const { timer } of followed.values()) clearTimeout(timer)
    },
  }
}

/** @throws TypeError when it is no inventory; single images that cannot be read are left out. */
export function parseInventory(value: unknown): readonly BuiltImage[] {
  const images = (value as { images?: unknown } | undefined)?.images
  if (!Array.isArray(images)) throw new TypeError('what the agent sent is no inventory')
  return images.filter(isBuilt).map(({ name, digest, version }) => ({ name, digest, version }))
}

/** What cannot be read is left out. */
function parseOrdinary(value: unknown): readonly string[] {
  const { ordinary } = value as { ordinary?: unknown }
  const list: readonly unknown[] = Array.isArray(ordinary) ? ordinary.slice(0, mostOrdinary) : []
  return list.filter((one): one is string => typeof one === 'string' && /^sha(256|512):[0-9a-f]+$/.test(one))
}

function isBuilt(value: unknown): value is BuiltImage {
  const { name, digest, version } = (value ?? {}) as Record<string, unknown>
  if (typeof name !== 'string' || typeof digest !== 'string' || !Number.isSafeInteger(version)) return false
  try {
    return normalizeReference(name) === name
  } catch {
    return false
  }
}
