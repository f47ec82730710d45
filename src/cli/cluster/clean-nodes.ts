import { setTimeout as pause } from 'node:timers/promises'
import type { CleanResult } from '../../agent/clean/clean.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import { resources } from '../../kernel/k8s/resources.ts'
import { cleanLabel, type CleanPod, cleanPod } from '../manifests/clean.ts'
import { explainPod } from './explain.ts'
import type { ClusterEvent, Pod } from './objects.ts'
import { patiently } from './patient.ts'

export interface CleanNodesOptions extends Omit<CleanPod, 'node'> {
  readonly client: KubernetesClient
  readonly nodes: readonly { readonly node: string; readonly reachable: boolean }[]
  readonly say: (line: string) => void
  /** Milliseconds. */
  readonly timeout: number
}

export interface CleanedNode {
  readonly node: string
  readonly result?: CleanResult
  /** Why it could not be cleaned. */
  readonly error?: string
}

/** So many nodes are cleaned at a time: pods of a big cluster must not come in one burst. */
const atOnce = 50
/** Milliseconds between two words about nodes that are not done. */
const patience = 3000

/** Runs a pod on each node that takes away what the agent left. A node that fails does not stop the others. */
export async function cleanNodes(options: CleanNodesOptions): Promise<CleanedNode[]> {
  const { client, namespace, nodes, say } = options
  const unreachable = nodes.filter((n) => !n.reachable).map(({ node }) => ({ node, error: 'the node is not ready' }))
  const todo = nodes.filter((n) => n.reachable).map((n) => n.node)
  if (todo.length > 0) say(`cleaning ${todo.length} node${todo.length === 1 ? '' : 's'}`)
  const done: CleanedNode[] = []
  for (let i = 0; i < todo.length; i += atOnce) {
    done.push(...(await cleanSome(options, todo.slice(i, i + atOnce))))
  }
  for (const { node, result, error } of done) {
    const what = result && [
      // An image that is older than this program does not tell.
      ...(result.steps > 0 ? [`${result.steps} RUN steps`] : []),
      `${result.unmounted} mounts`,
      `${result.unpinned} pins`,
      `${result.leases} cache records`,
      ...(result.removed.length > 0 ? [result.removed.join(', ')] : []),
    ]
    say(`  ${node}: ${error ?? `removed ${what?.join(', ')}`}`)
  }
  await patiently(async () => {
    for (const pod of await client.list<Pod>(resources.pods, { namespace, labelSelector: selector })) {
      await client.delete(resources.pods, { namespace, name: pod.metadata?.name })
    }
  })
  return [...unreachable, ...done]
}

const selector = Object.entries(cleanLabel)
  .map(([key, value]) => `${key}=${value}`)
  .join(',')

async function cleanSome(options: CleanNodesOptions, nodes: readonly string[]): Promise<CleanedNode[]> {
  const { client, namespace } = options
  const names = new Map<string, string>()
  for (const node of nodes) {
    const pod = cleanPod({ ...options, node })
    names.set(pod.metadata.name, node)
    // One of an interrupted run may be there, with other options.
    const ref = { namespace, name: pod.metadata.name }
    await patiently(async () => {
      await client.delete(resources.pods, ref, { gracePeriodSeconds: 0 })
      await client.create(resources.pods, { namespace }, pod)
    })
  }
  const done = new Map<string, CleanedNode>()
  const end = Date.now() + options.timeout
  let [said, lookAgain] = ['', Date.now() + patience]
  for (;;) {
    const pods = await patiently(() => client.list<Pod>(resources.pods, { namespace, labelSelector: selector }))
    for (const pod of pods) {
      const node = names.get(pod.metadata?.name ?? '')
      if (node === undefined || done.has(node)) continue
      const [container] = pod.status?.containerStatuses ?? []
      const message = container?.state?.terminated?.message ?? container?.lastState?.terminated?.message
      if (pod.status?.phase === 'Succeeded') done.set(node, { node, result: parse(message) })
      // It is tried again by itself; what does not go away in three tries stays.
      else if ((container?.restartCount ?? 0) >= 3) done.set(node, { node, error: message ?? 'the clean-up failed' })
      else if (Date.now() > end) done.set(node, { node, error: message ?? (await why(client, namespace, pod)) })
    }
    if (done.size === nodes.length || Date.now() > end + 5000) break
    if (Date.now() > lookAgain) {
      lookAgain = Date.now() + patience
      const events = await patiently(() => client.list<ClusterEvent>(resources.events, { namespace }))
      const open = pods.filter((pod) => {
        const node = names.get(pod.metadata?.name ?? '')
        return node !== undefined && !done.has(node)
      })
      const text = waitingFor(open, events)
      if (text !== '' && text !== said) options.say(text)
      said = text
    }
    await pause(500)
  }
  return nodes.map((node) => done.get(node) ?? { node, error: 'no answer in time' })
}

/** What these pods wait for, a line each; no more than three of them. */
export function waitingFor(pods: readonly Pod[], events: readonly ClusterEvent[]): string {
  const lines = pods.flatMap((pod) => {
    const text = explainPod(pod, eventsOf(pod, events))?.text
    return text === undefined ? [] : [`  ${pod.spec?.nodeName ?? pod.metadata?.name}: ${text}`]
  })
  const more = lines.length > 3 ? [`  and ${lines.length - 3} more`] : []
  return [...lines.slice(0, 3), ...more].join('\n')
}

const eventsOf = (pod: Pod, events: readonly ClusterEvent[]): ClusterEvent[] =>
  events.filter((event) => event.involvedObject?.uid === pod.metadata?.uid)

async function why(client: KubernetesClient, namespace: string, pod: Pod): Promise<string> {
  const events = await client.list<ClusterEvent>(resources.events, { namespace })
  return explainPod(pod, eventsOf(pod, events))?.text ?? 'no answer in time'
}

function parse(message: string | undefined): CleanResult {
  try {
    return JSON.parse(message ?? '') as CleanResult
  } catch {
    return { steps: 0, unmounted: 0, unpinned: 0, leases: 0, removed: [] }
  }
}
