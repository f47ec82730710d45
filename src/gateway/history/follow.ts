import { setTimeout as sleep } from 'node:timers/promises'
import { timestampMs } from '@bufbuild/protobuf/wkt'
import { askedDifferently, decodeHistoryEvent, historyEvent, timestampHeader } from '../../buildkit/history.ts'
import type { BuildHistoryEvent, BuildHistoryRequest } from '../../buildkit/gen/control_pb.ts'
import { paths } from '../../buildkit/methods.ts'
import { describeError } from '../../kernel/errors.ts'
import type { BuildNode } from '../directory/directory.ts'
import type { Call, RelayContext } from '../relay/context.ts'
import { header, type RawHeaders } from '../relay/headers.ts'
import { messagesFrom } from '../relay/messages.ts'
import type { Patience } from './ask.ts'

/** Takes an event of a node's history to the client. `patience`: with the node, where it is limited. */
export type Deliver = (event: BuildHistoryEvent, node: string, patience?: Patience) => Promise<void>

export interface Following {
  /** Resolves when the client has gone. */
  readonly ended: Promise<void>
  /** Whether the client has already been told something newer about the build of this event. */
  toldOf(event: BuildHistoryEvent): boolean
}

/** Milliseconds between looks for nodes that came or came back. */
const lookAgain = 2000

/** Most refs that are remembered as told while the past is listed. */
const mostTold = 10_000

/** Follows the histories of all nodes, of those that come later too, and of those that come back from where they were. */
export function followNodes(
  context: RelayContext,
  call: Call,
  request: BuildHistoryRequest,
  deliver: Deliver,
): Following {
  const told = new Set<string>()
  const followed = new Set<string>()
  /** When each was lost, by its own clock: that is the one of its records. */
  const lostAt = new Map<string, number>()
  /** Milliseconds that the clock of each is before ours. */
  const ahead = new Map<string, number>()

  const events = async (node: BuildNode, question: Uint8Array, handle: Deliver): Promise<void> => {
    const upstream = await call.upstreams.to(node, true)
    const onAnswer = (raw: RawHeaders): void => {
      const there = Date.parse(header(raw, timestampHeader) ?? '')
      if (!Number.isNaN(there)) ahead.set(node.name, there - Date.now())
    }
    for await (const message of messagesFrom(upstream, paths.listenBuildHistory, question, call.signal, { onAnswer })) {
      await handle(decodeHistoryEvent(message), node.name)
    }
  }
  const live: Deliver = async (event, node) => {
    if (event.record && event.type !== historyEvent.started && told.size < mostTold) told.add(event.record.ref)
    await deliver(event, node)
  }
  const follow = async (node: BuildNode): Promise<void> => {
    const missed = lostAt.get(node.name)
    const catchUp = async (): Promise<void> => {
      if (missed === undefined || request.activeOnly) return
      await events(node, askedDifferently(request, { earlyExit: true, limit: 0 }), async (event, name) => {
        const ended = event.record?.completedAt
        if (ended && timestampMs(ended) >= missed) await deliver(event, name)
      })
      lostAt.delete(node.name)
    }
    await Promise.all([events(node, askedDifferently(request, { activeOnly: true }), live), catchUp()])
  }
  const keep = async (node: BuildNode): Promise<void> => {
    if (followed.has(node.name)) return
    followed.add(node.name)
    try {
      await follow(node)
    } catch (error) {
      if (call.signal.aborted) return
      // A moment earlier: what ended just before the loss may have been on its way.
      if (!lostAt.has(node.name)) lostAt.set(node.name, Date.now() + (ahead.get(node.name) ?? 0) - lookAgain)
      const fields = { path: call.path, node: node.name, err: describeError(error) }
      context.logger.warn(fields, 'a node is missing in a history that is followed')
    } finally {
      followed.delete(node.name)
    }
  }
  const watch = async (): Promise<void> => {
    while (!call.signal.aborted) {
      for (const node of context.directory.nodes()) void keep(node)
      await sleep(lookAgain, undefined, { signal: call.signal, ref: false }).catch(() => undefined)
    }
  }
  return {
    ended: watch(),
    toldOf: ({ record }) => record !== undefined && told.has(record.ref),
  }
}
