import { setTimeout as sleep } from 'node:timers/promises'
import { describeError } from '../../kernel/errors.ts'
import { fieldOf, messages } from '../../kernel/grpc/wire.ts'
import type { Logger } from '../../kernel/log.ts'
import { containerdCall } from '../host/containerd-call.ts'
import { isStep, readContainer } from './step-container.ts'

export interface OrphanOptions {
  /** containerd's socket. */
  readonly address: string
  readonly namespace: string
  /** buildkitd's root: what tells its containers from all others. */
  readonly root: string
  readonly log: Logger
}

/**
 * Ends the containers of RUN steps whose daemon is gone: containerd keeps running them, for nobody. Only while no
 * daemon runs. Field numbers: containerd's api/services/{containers,tasks}/v1.
 * @returns the ids of the containers that were removed.
 */
export async function endOrphans(options: OrphanOptions): Promise<string[]> {
  const ask = containerdCall(options.address, options.namespace)
  const removed: string[] = []
  try {
    const containers = messages(await ask('containers.v1.Containers/List'), 1).map(readContainer)
    for (const { id } of containers.filter((container) => isStep(container, options.root))) {
      // SIGKILL to all processes; a container without a task, or with one that has ended, has nothing to kill.
      await ask('tasks.v1.Tasks/Kill', Buffer.concat([fieldOf(1, id), fieldOf(3, 9), fieldOf(4, 1)])).catch(
        () => undefined,
      )
      for (let tries = 0; tries < 50; tries++) {
        const gone = await ask('tasks.v1.Tasks/Delete', fieldOf(1, id)).then(
          () => true,
          (error: unknown) => /not found/i.test(describeError(error)),
        )
        if (gone) break
        await sleep(100)
      }
      await ask('containers.v1.Containers/Delete', fieldOf(1, id))
      removed.push(id)
      options.log.info({ container: id }, 'ended a build step whose daemon was gone')
    }
  } catch (error) {
    options.log.warn({ err: describeError(error) }, 'build steps of an earlier daemon could not be ended')
  }
  return removed
}
