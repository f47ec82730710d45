import { setTimeout as pause } from 'node:timers/promises'
import { labels, rootlessAgent, serviceAccounts } from '../../api/names.ts'
import { InsituError } from '../../kernel/errors.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import { resources } from '../../kernel/k8s/resources.ts'
import { say } from './connect.ts'
import type { Pod } from './objects.ts'
import { patiently } from './patient.ts'
import { readyNodes } from './ready-nodes.ts'

/** Milliseconds after which nodes are looked at again: one may go down while its pods stop. */
const nodesEvery = 10_000

/** Pods that are deleted at the same time. */
const atOnce = 20

/**
 * Ends the pods of all roles and waits until they are gone. A node that is down keeps its pods until it is back: nobody
 * waits for these.
 *
 * The pods go first, and their workloads at once after them: a kubelet that has begun to end a pod with its own grace
 * period, which is as long as the longest build, takes no shorter one any more (SyncTerminatingPod in the kubelet of
 * Kubernetes 1.35), and the garbage collector would end them with that. What a workload makes in between has no builds.
 * @throws InsituError PODS_STAY
 */
export async function stop(
  client: KubernetesClient,
  namespace: string,
  { grace, timeout }: { grace: number; timeout: number },
): Promise<void> {
  const list = (): Promise<Pod[]> =>
    patiently(() => client.list<Pod>(resources.pods, { namespace, labelSelector: labels.role }))
  const shortened = new Set<string>()
  // A gateway would wait for its builds as long as the longest of them may take.
  const shorten = async (pods: readonly Pod[]): Promise<void> => {
    const gracePeriodSeconds = Math.ceil(grace / 1000)
    const names = pods.map((pod) => pod.metadata?.name ?? '').filter((name) => !shortened.has(name))
    for (let at = 0; at < names.length; at += atOnce) {
      const some = names.slice(at, at + atOnce)
      for (const name of some) shortened.add(name)
      await Promise.all(
        some.map((name) => patiently(() => client.delete(resources.pods, { namespace, name }, { gracePeriodSeconds }))),
      )
    }
  }
  await shorten(await list())
  for (const name of [serviceAccounts.controller, serviceAccounts.gateway]) {
    await patiently(() => client.delete(resources.deployments, { namespace, name }))
  }
  for (const name of [serviceAccounts.agent, rootlessAgent]) {
    await patiently(() => client.delete(resources.daemonSets, { namespace, name }))
  }
  const end = Date.now() + grace + timeout
  let said = ''
  let ready: ReadonlySet<string> = new Set()
  let lookAgain = 0
  const isDown = ({ spec }: Pod): boolean => spec?.nodeName !== undefined && !ready.has(spec.nodeName)
  for (;;) {
    const pods = await list()
    if (pods.length > 0 && Date.now() >= lookAgain) {
      ready = await readyNodes(client)
      lookAgain = Date.now() + nodesEvery
    }
    await shorten(pods)
    const awaited = pods.filter((pod) => !isDown(pod))
    if (awaited.length === 0) return
    const text = waitingText(awaited)
    if (text !== said) say(text)
    said = text
    if (Date.now() > end) {
      throw new InsituError('PODS_STAY', `${awaited.length} pods do not stop`, {
        status: 'DEADLINE_EXCEEDED',
        fix: 'kubectl describe pod says what they wait for; run this again when they are gone.',
      })
    }
    await pause(500)
  }
}

const waitingText = (pods: readonly Pod[]): string =>
  `  waiting for ${pods.length} pod${pods.length === 1 ? '' : 's'} to stop: ${pods
    .slice(0, 3)
    .map((pod) => `${pod.metadata?.name} on ${pod.spec?.nodeName ?? 'no node'}`)
    .join(', ')}`
