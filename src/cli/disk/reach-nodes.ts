import { describeError, InsituError, UsageError } from '../../kernel/errors.ts'
import type { Endpoint } from '../../kernel/k8s/endpoint.ts'
import { readInstallation } from '../cluster/installation.ts'
import { type ClusterOptions, say, withCluster } from '../cluster/connect.ts'
import { askAgent, type Question, usualSocket } from './ask-agent.ts'

export interface NodeOptions extends ClusterOptions {
  readonly node: readonly string[]
  /** Ask the agent of this machine instead of a cluster's. */
  readonly socket?: string
}

/** An agent that can be asked. */
export interface ReachableNode {
  readonly node: string
  /** @throws InsituError when it cannot be reached or refuses. */
  ask(question: Question, body: string | undefined, onLine: (line: string) => void): Promise<void>
}

export interface Reached {
  readonly nodes: readonly ReachableNode[]
  /** Nodes that are left out: what a rootless daemon keeps is in its pod, and nothing of it on the node. */
  readonly rootless: readonly string[]
}

/**
 * The agents that the options mean. In a cluster they are asked by a program in their pods, with the right of the
 * kubeconfig's account to exec there: nobody else reaches an agent, and no port is opened for it.
 * @throws UsageError for a node without an agent, and for one whose agent is rootless; InsituError NOT_INSTALLED.
 */
export async function reachNodes(options: NodeOptions): Promise<Reached> {
  const { socket } = options
  if (socket !== undefined) {
    const ask: ReachableNode['ask'] = (question, body, onLine) => askAgent(socket, question, body, onLine)
    return { nodes: [{ node: 'this machine', ask }], rootless: [] }
  }
  const { agents, endpoint } = await withCluster(options, async (client) => {
    const { agents } = await readInstallation(client, options.namespace)
    return { agents, endpoint: client.endpoint }
  })
  if (agents.length === 0) {
    throw new InsituError('NOT_INSTALLED', `there are no agents in namespace ${options.namespace}`, {
      status: 'NOT_FOUND',
      fix: 'install insitu with `insitu install`, or ask this machine with --socket',
    })
  }
  const strange = options.node.find((name) => !agents.some((agent) => agent.node === name))
  if (strange !== undefined) {
    throw new UsageError(`node ${strange} has no agent`, { fix: 'see `insitu nodes`' })
  }
  const rootless = agents.flatMap((agent) => (agent.rootless && agent.node !== undefined ? [agent.node] : []))
  const named = options.node.find((name) => rootless.includes(name))
  if (named !== undefined) {
    throw new UsageError(
      `node ${named} builds rootless: its build cache is in its agent’s pod, and no image stays there`,
      {
        fix: 'leave the node out; deleting the pod of its agent deletes its cache',
      },
    )
  }
  const nodes = agents
    .filter((agent) => !agent.rootless && agent.node !== undefined)
    .filter(({ node = '' }) => options.node.length === 0 || options.node.includes(node))
    .map(({ node = '', name }): ReachableNode => {
      const place = { endpoint, namespace: options.namespace, pod: name }
      return { node, ask: (question, body, onLine) => askPod(place, question, body, onLine) }
    })
  return { nodes, rootless: options.node.length === 0 ? rootless : [] }
}

/** Says which nodes were left out, where some were. */
export function sayLeftOut({ rootless }: Reached): void {
  if (rootless.length === 0) return
  const why = 'rootless: the build cache is in the agent’s pod, and no image stays on the node'
  say(`left out: ${rootless.join(', ')} (${why})`)
}

interface PodPlace {
  readonly endpoint: Endpoint
  readonly namespace: string
  readonly pod: string
}

async function askPod(
  { endpoint, namespace, pod }: PodPlace,
  question: Question,
  body: string | undefined,
  onLine: (line: string) => void,
): Promise<void> {
  const { execInPod } = await import('../../kernel/k8s/exec.ts')
  let rest = ''
  const { code, stderr } = await execInPod(endpoint, {
    namespace,
    pod,
    container: 'agent',
    command: [
      'insitu',
      'ask-agent',
      question,
      '--socket',
      usualSocket,
      ...(body === undefined ? [] : ['--body', body]),
    ],
    onOutput: (chunk) => {
      const lines = (rest + chunk).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) onLine(line)
    },
  })
  if (code === 0) return
  const said = stderr
    .trim()
    .replace(/^insitu: /, '')
    .split('\n')[0]
  throw new InsituError('AGENT_REFUSED', said || `insitu ended with ${code} in pod ${pod}`, { status: 'UNAVAILABLE' })
}

/** So many nodes are asked at a time. */
const atOnce = 16

/** Asks all of them, a few at a time. A node that fails does not stop the others. */
export async function askAll<T>(
  nodes: readonly ReachableNode[],
  ask: (node: ReachableNode) => Promise<T>,
): Promise<{ readonly answers: readonly T[]; readonly failed: readonly FailedNode[] }> {
  const answers: T[] = []
  const failed: FailedNode[] = []
  const waiting = [...nodes]
  const work = async (): Promise<void> => {
    for (let node = waiting.shift(); node; node = waiting.shift()) {
      try {
        answers.push(await ask(node))
      } catch (error) {
        const fix = error instanceof InsituError ? error.fix : undefined
        failed.push({ node: node.node, error: describeError(error), ...(fix === undefined ? {} : { fix }) })
      }
    }
  }
  await Promise.all(Array.from({ length: atOnce }, work))
  return { answers, failed }
}

export interface FailedNode {
  readonly node: string
  readonly error: string
  readonly fix?: string
}

/** @throws InsituError NODES_FAILED when one did not answer: what the others said was printed. */
export function throwFailed(failed: readonly FailedNode[]): void {
  if (failed.length === 0) return
  const list = failed.map(({ node, error }) => `${node}: ${error}`).join('; ')
  throw new InsituError('NODES_FAILED', list, { status: 'UNAVAILABLE', fix: failed[0]?.fix })
}
