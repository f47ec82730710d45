import { agentPaths } from '../../api/agent-api.ts'
import type {
  BuiltAnswer,
  BuiltImage,
  BuiltRequest,
  DropRequest,
  Peer,
  PullProgress,
  PullRequest,
  RetractRequest,
  WantedRequest,
} from '../../api/images.ts'
import { InsituError } from '../../kernel/errors.ts'
import type { TlsSource } from '../../kernel/tls/material.ts'
import { askAgent, askAgentForLines } from '../directory/agent-request.ts'

/** What a gateway asks of agents about images. All throw InsituError with the node and the reason. */
export interface AgentCalls {
  /** The builder's agent records and pins what was built on its node. @returns names that it put back instead. */
  built(
    node: string,
    images: readonly BuiltImage[],
    signal: AbortSignal,
    of?: Pick<BuiltRequest, 'index' | 'ref'>,
  ): Promise<BuiltAnswer>
  /** A node loses its copies of these names that are older. */
  drop(node: string, images: readonly BuiltImage[]): Promise<void>
  /** A node loses names that a build may have written there in the last `age` milliseconds. */
  retract(node: string, names: readonly string[], age: number): Promise<void>
  /** Brings an image to a node. @returns bytes that were moved. */
  pull(
    node: string,
    image: BuiltImage,
    peers: readonly string[],
    onBytes: (current: number, total: number | undefined) => void,
    signal: AbortSignal,
  ): Promise<number>
}

export interface WantedCalls {
  /** Which of a node's images templates of workloads name. */
  wanted(node: string, names: readonly string[]): Promise<void>
}

export interface AgentCallsOptions {
  /** Where the agent of a node is; undefined while it has none that can be reached. */
  readonly peer: (node: string) => Peer | undefined
  /** Whether the agent of a node is being stopped: it gives images and records its last builds, and gets none. */
  readonly drains?: (node: string) => boolean
  readonly tls: TlsSource
  /** Milliseconds a pull may be silent before its node counts as lost. Agents speak every second. Default 15,000. */
  readonly silence?: number
  /** Milliseconds for short requests. Default 5,000. */
  readonly timeout?: number
  /** Milliseconds to connect for what takes an agent long: a client waits for its end. Default 2,000. */
  readonly connecting?: number
}

/** Milliseconds: an agent waits until its daemon has ended the build. */
const retracting = 30_000

/** A day: the signal of whoever pulls ends it before. */
const longest = 86_400_000

export function createAgentCalls({
  peer,
  drains = () => false,
  tls,
  silence = 15_000,
  timeout = 5000,
  connecting = 2000,
}: AgentCallsOptions): AgentCalls & WantedCalls {
  const reach = (node: string): Peer => {
    const found = peer(node)
    if (found) return found
    throw new InsituError('AGENT_UNREACHABLE', `node ${node} has no agent that can be reached`, {
      status: 'UNAVAILABLE',
    })
  }
  return {
    async built(node, images, signal, of) {
      const body: BuiltRequest = { images, ...of }
      const answer = await askAgent(reach(node), tls, { method: 'POST', path: agentPaths.built, body, timeout, signal })
      const { refused = [], overtaken = [] } = (answer ?? {}) as Partial<BuiltAnswer>
      return { refused, overtaken }
    },
    async drop(node, images) {
      const body: DropRequest = { images }
      await askAgent(reach(node), tls, { method: 'POST', path: agentPaths.drop, body, timeout })
    },
    async retract(node, names, age) {
      const body: RetractRequest = { names, age }
      const limits = { timeout: retracting, connecting }
      await askAgent(reach(node), tls, { method: 'POST', path: agentPaths.retract, body, ...limits })
    },
    async wanted(node, names) {
      const body: WantedRequest = { names }
      await askAgent(reach(node), tls, { method: 'POST', path: agentPaths.wanted, body, timeout })
    },
    async pull(node, image, peers, onBytes, signal) {
      if (drains(node)) {
        throw new InsituError('AGENT_DRAINING', `the agent of node ${node} is being stopped`, { status: 'UNAVAILABLE' })
      }
      const body: PullRequest = { image, peers: peers.flatMap((name) => peer(name) ?? []) }
      const quiet = new AbortController()
      const watch = setTimeout(() => quiet.abort(lost(node, silence)), silence)
      let end: PullProgress | undefined
      try {
        await askAgentForLines(
          reach(node),
          tls,
          {
            ...{ method: 'POST', path: agentPaths.pull, body, timeout: longest },
            signal: AbortSignal.any([signal, quiet.signal]),
          },
          (line) => {
            watch.refresh()
            const said = line as PullProgress
            if ('error' in said || 'done' in said) end = said
            else onBytes(said.bytes, said.total)
          },
        )
      } finally {
        clearTimeout(watch)
      }
      if (end && 'done' in end) return end.bytes
      const why = end && 'error' in end ? end.error : 'its agent ended the answer too early'
      throw new InsituError('DELIVERY', `node ${node}: ${why}`, { status: 'UNAVAILABLE' })
    },
  }
}

const lost = (node: string, silence: number): InsituError =>
  new InsituError('DELIVERY', `node ${node}: nothing was heard of it for ${silence / 1000} s`, {
    status: 'UNAVAILABLE',
  })
