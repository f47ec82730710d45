import type { BuiltImage } from '../../api/images.ts'
import { grpcStatus, InsituError } from '../../kernel/errors.ts'
import { fieldOf, messages, string } from '../../kernel/grpc/wire.ts'
import { type ContainerdCall, containerdCall } from '../host/containerd-call.ts'
import type { MirrorAccess } from '../mirror/part.ts'
import type { Part } from '../part.ts'
import { pullHandler } from './handler.ts'
import { nodePuller } from './puller.ts'
import { createPulls } from './pulls.ts'

export interface DeliveryPartOptions {
  /** The mirror of this node, which starts before. */
  readonly mirror: () => MirrorAccess | undefined
  /** The image is going to be, or is, on this node: it is recorded with the name. */
  readonly arriving: (image: BuiltImage) => Promise<void>
}

/** The part of an agent that brings images to its node when a gateway says so. */
export const deliveryPart = ({ mirror, arriving }: DeliveryPartOptions): Part => ({
  name: 'delivery',
  start(context) {
    const { containerd: socket, namespace, host, log } = context
    const access = mirror()
    if (!access) {
      throw new InsituError('DELIVERY_MIRROR', 'the mirror of this node does not run, and deliveries come through it', {
        status: 'FAILED_PRECONDITION',
      })
    }
    const pull = nodePuller({ socket, namespace, snapshotter: host.snapshotter ?? '', mirror: () => access })
    const call = containerdCall(socket, namespace)
    const pulls = createPulls({
      ...{ pull, arriving, log, begin: access.begin, sizeOf: access.sizeOf },
      digestOf: (name) => digestOf(call, name),
    })
    return Promise.resolve({ handlers: [pullHandler(pulls)], stop: () => pulls.stop() })
  },
})

/** Field numbers: containerd's api/services/images/v1, api/types/descriptor.proto. */
async function digestOf(call: ContainerdCall, name: string): Promise<string | undefined> {
  try {
    const answer = await call('images.v1.Images/Get', fieldOf(1, name))
    const [target] = messages(answer, 1).flatMap((image) => messages(image, 3))
    return target && string(target, 2)
  } catch (error) {
    if (error instanceof InsituError && grpcStatus[error.status] === grpcStatus.NOT_FOUND) return undefined
    throw error
  }
}
