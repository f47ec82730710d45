import type { PodView, View } from '../view.ts'
import type { Action } from './actions.ts'

/** Seconds after the end of its grace in which a kubelet confirms that a pod is gone; later there is none any more. */
const patience = 60

/**
 * Pods of ours that are deleted and that no kubelet confirms: their node is lost, and as long as it is they would stay,
 * and with them the directory on a claim. They only speak to a gateway, so that nothing is lost with the object; a kubelet
 * that comes back ends containers of pods that it does not find.
 * @returns what to delete, and in how many seconds the next one is due.
 */
export function lostPods(view: View, now: Date): { readonly actions: readonly Action[]; readonly again: number } {
  const builds = new Map(view.builds.map((build) => [build.metadata?.uid, build]))
  const actions: Action[] = []
  let again = Infinity
  for (const [key, pods] of view.pods) {
    const namespace = key.slice(0, key.indexOf('/'))
    for (const pod of pods) {
      const left = secondsLeft(pod, now)
      if (left === undefined) continue
      if (left > 0) again = Math.min(again, left)
      else {
        const gone = { metadata: { namespace, name: pod.name, uid: pod.buildUid }, spec: {} }
        actions.push({ kind: 'deletePod', build: builds.get(pod.buildUid) ?? gone, name: pod.name, uid: pod.uid })
      }
    }
  }
  return { actions, again }
}

const secondsLeft = ({ endsAt }: PodView, now: Date): number | undefined =>
  endsAt === undefined ? undefined : endsAt / 1000 + patience - now.getTime() / 1000
