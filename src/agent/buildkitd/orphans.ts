import { setTimeout as sleep } from 'node:timers/promises'
import { describeError } from '../../kernel/errors.ts'
import { fieldOf, messages } from '../../kernel/grpc/wire.ts'
import type { Logger } from '../../kernel/log.ts'
import { type ContainerdCall, containerdCall } from '../host/containerd-call.ts'
import { isStep, readContainer } from './step-container.ts'

export interface StepsOptions {
  /** containerd's socket. */
  readonly address: string
  readonly namespace: string
  /** Paths of buildkitd's root, as daemons knew it: what tells their containers from all others. */
  readonly roots: readonly string[]
  /** Told the id of each container that was removed. */
  readonly onEnded: (id: string) => void
}

/**
 * Ends the containers of RUN steps whose daemon is gone: containerd keeps running them, for nobody. Only while no
 * daemon runs. Field numbers: containerd's api/services/{containers,tasks}/v1.
 * @returns the ids of those that even SIGKILL does not end.
 * @throws InsituError GRPC_CALL_FAILED
 */
export async function endSteps({ address, namespace, roots, onEnded }: StepsOptions): Promise<string[]> {
  const ask = containerdCall(address, namespace)
  const containers = messages(await ask('containers.v1.Containers/List'), 1).map(readContainer)
  const stuck: string[] = []
  for (const { id } of containers.filter((container) => roots.some((root) => isStep(container, root)))) {
    if (await endTask(ask, id)) {
      await ask('containers.v1.Containers/Delete', fieldOf(1, id))
      onEnded(id)
    } else stuck.push(id)
  }
  return stuck
}

/** @returns false when a task is still there after seconds. */
async function endTask(ask: ContainerdCall, id: string): Promise<boolean> {
  // SIGKILL to all processes; a container without a task, or with one that has ended, has nothing to kill.
  await ask('tasks.v1.Tasks/Kill', Buffer.concat([fieldOf(1, id), fieldOf(3, 9), fieldOf(4, 1)])).catch(() => undefined)
  for (let tries = 0; tries < 50; tries++) {
    const gone = await ask('tasks.v1.Tasks/Delete', fieldOf(1, id)).then(
      () => true,
      (error: unknown) => /not found/i.test(describeError(error)),
    )
    if (gone) return true
    await sleep(100)
  }
  return false
}

export interface OrphanOptions extends Pick<StepsOptions, 'address' | 'namespace'> {
  /** buildkitd's root. */
  readonly root: string
  readonly log: Logger
}

/** Ends what an earlier daemon has left running, as far as it can be: a new one starts all the same. */
export async function endOrphans({ address, namespace, root, log }: OrphanOptions): Promise<void> {
  const onEnded = (id: string): void => log.info({ container: id }, 'ended a build step whose daemon was gone')
  try {
    const stuck = await endSteps({ address, namespace, roots: [root], onEnded })
    if (stuck.length > 0) log.warn({ containers: stuck }, 'build steps of an earlier daemon do not end')
  } catch (error) {
    log.warn({ err: describeError(error) }, 'build steps of an earlier daemon could not be ended')
  }
}
