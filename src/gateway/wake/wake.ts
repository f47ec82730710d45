import { annotations } from '../../api/names.ts'
import { describeError } from '../../kernel/errors.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import { isNotFound } from '../../kernel/k8s/failure.ts'
import { resources } from '../../kernel/k8s/resources.ts'
import type { Logger } from '../../kernel/log.ts'
import type { ClusterView, PodFacts } from '../placement/cluster.ts'

export interface WakeOptions {
  readonly client: KubernetesClient
  readonly view: Pick<ClusterView, 'waitingFor'>
  readonly logger: Logger
  readonly now?: () => Date
}

/** What a kubelet says of a container whose pull has failed, until it tries again. */
export const backingOff: readonly string[] = ['ErrImagePull', 'ImagePullBackOff']

/** What a kubelet says of a container when it has given up its image for now, by pull policy. With Always it is not woken. */
const givenUp: Readonly<Record<string, readonly string[]>> = {
  Never: ['ErrImageNeverPull'],
  IfNotPresent: backingOff,
}

/** Whether the pod's kubelet does not ask for the image now, and looks again when it is woken. */
export const isStuck = (pod: PodFacts, image: string): boolean =>
  pod.waiting.some((w) => w.image === image && givenUp[w.pullPolicy]?.includes(w.reason))

/**
 * Makes the kubelets of these nodes look again for pods that gave up one of the images, by an annotation on the pod. A
 * pod whose pull is held gets its answer there; one that says later that it gave up is found by the next look for such
 * pods (delivery/rescue.ts).
 *
 * A change of annotations is an update for the kubelet (podsDifferSemantically, pkg/kubelet/config/config.go) and goes
 * to the pod's worker at once instead of after the worker's own interval. The worker asks the runtime for the image
 * first: with policy Never always, with IfNotPresent before it looks at the pull back-off (imagePullPrecheck and
 * EnsureImageExists, pkg/kubelet/images/image_manager.go). With policy Always the back-off stands, so such pods are
 * left alone.
 * @returns the pods that were patched, as `namespace/name`. Never throws: failures are logged.
 */
export async function wakePods(
  options: WakeOptions,
  nodes: readonly string[],
  images: readonly string[],
): Promise<readonly string[]> {
  const { client, view, logger, now = () => new Date() } = options
  const pods = new Set<PodFacts>()
  for (const image of images) {
    for (const pod of view.waitingFor(image)) {
      if (pod.node !== undefined && nodes.includes(pod.node) && isStuck(pod, image)) pods.add(pod)
    }
  }
  const body = { metadata: { annotations: { [annotations.imageReady]: now().toISOString() } } }
  const woken = await Promise.all(
    [...pods].map(async ({ namespace, name, node }) => {
      try {
        await client.patch(resources.pods, { namespace, name }, body, { timeout: 5000 })
        logger.info({ pod: `${namespace}/${name}`, node, images }, 'the pod was told that its image is there')
        return [`${namespace}/${name}`]
      } catch (error) {
        // It went away in the meantime: nothing to wake.
        if (!isNotFound(error)) {
          logger.warn({ pod: `${namespace}/${name}`, err: describeError(error) }, 'a waiting pod could not be woken')
        }
        return []
      }
    }),
  )
  return woken.flat()
}
