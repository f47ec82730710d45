import { setTimeout as sleep } from 'node:timers/promises'
import { describeError } from '../../kernel/errors.ts'
import { type GrpcConnection, grpcConnection } from '../../kernel/grpc/connection.ts'
import { fieldOf, integer, messages, string } from '../../kernel/grpc/wire.ts'
import type { Logger } from '../../kernel/log.ts'
import { isStep, readContainer } from '../buildkitd/step-container.ts'
import { callOf } from '../host/containerd-call.ts'
import { followEvents, whileOpen } from '../host/containerd-events.ts'

export interface WatchStepsOptions {
  /** containerd's socket. */
  readonly containerd: string
  readonly namespace: string
  /** buildkitd's root. */
  readonly root: string
  readonly log: Logger
  /** Told of the first process of each RUN step, before it runs what the step says and once it does, and of each exec. */
  readonly onProcess: (pid: number) => Promise<void>
}

/** Number of the field that holds the process id. containerd's api/events/task.proto; the container's is 1 in all. */
const pidField: Readonly<Record<string, number>> = { '/tasks/create': 6, '/tasks/start': 2, '/tasks/exec-started': 3 }

/** What containerd's api/types/task says of a task that has ended; its process id may be another's by now. */
const stopped = 3
/** containerd does not say from when on it sends events: soon after. Milliseconds. */
const settled = 1000

/**
 * Follows containerd's events, again when containerd was away, and looks each time at what runs already: steps begin
 * while nobody listens, too.
 * @returns what ends it.
 */
export function watchSteps(options: WatchStepsOptions): () => Promise<void> {
  const over = new AbortController()
  const { log } = options
  const connection = grpcConnection(options.containerd)
  const running = whileOpen(over.signal, () =>
    followAndLook(connection, options).catch((error: unknown) => {
      if (!over.signal.aborted) log.debug({ err: describeError(error) }, 'containerd tells of no steps; asking again')
    }),
  )
  return async () => {
    over.abort(new Error('the watch was ended'))
    connection.close()
    await running
  }
}

async function followAndLook(connection: GrpcConnection, options: WatchStepsOptions): Promise<void> {
  const away = new AbortController()
  const look = (): Promise<void> =>
    lookAtSteps(connection, options).catch((error: unknown) =>
      options.log.debug({ err: describeError(error) }, 'the steps that run could not be looked at'),
    )
  const following = follow(connection, options).finally(() => away.abort(new Error('containerd sends no events')))
  const looking = look()
    .then(() => sleep(settled, undefined, { signal: away.signal, ref: false }))
    .then(look, () => undefined)
  await Promise.all([following, looking])
}

/** Tells of the steps that run now. Field numbers: containerd's api/services/tasks/v1 and api/types/task. */
async function lookAtSteps(
  connection: GrpcConnection,
  { namespace, root, onProcess }: WatchStepsOptions,
): Promise<void> {
  const containers = messages(await connection.unary(callOf('containers.v1.Containers/List', namespace)), 1)
  const steps = containers.map(readContainer).filter((container) => isStep(container, root))
  await Promise.all(
    steps.map(async ({ id }) => {
      const call = { ...callOf('tasks.v1.Tasks/Get', namespace), request: fieldOf(1, id) }
      // One that has no task yet is told of when it has.
      const task = await connection.unary(call).then(
        (answer) => messages(answer, 1)[0],
        () => undefined,
      )
      if (task && integer(task, 3) > 0 && integer(task, 4) !== stopped) await onProcess(integer(task, 3))
    }),
  )
}

async function follow(
  connection: GrpcConnection,
  { namespace, root, log, onProcess }: WatchStepsOptions,
): Promise<void> {
  /** Each container is asked for once: probes of pods are execs, too. */
  const steps = new Map<string, Promise<boolean>>()
  const ask = async (id: string): Promise<boolean> => {
    const call = callOf('containers.v1.Containers/Get', namespace)
    const [container] = messages(await connection.unary({ ...call, request: fieldOf(1, id) }), 1)
    return container !== undefined && isStep(readContainer(container), root)
  }
  const note = async (id: string, pid: number): Promise<void> => {
    const step = steps.get(id) ?? ask(id)
    steps.set(id, step)
    if (await step) await onProcess(pid)
  }
  await followEvents({
    ...{ connection, namespace },
    topics: [`^(${[...Object.keys(pidField), '/containers/delete'].join('|')})$`],
    onEvent(topic, event) {
      if (!event) return
      const id = string(event, 1)
      const field = pidField[topic]
      if (field === undefined) return void steps.delete(id)
      note(id, integer(event, field)).catch((error: unknown) => {
        steps.delete(id)
        log.debug({ id, err: describeError(error) }, 'a container could not be asked for')
      })
    },
  })
}
