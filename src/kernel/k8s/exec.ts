import { Writable } from 'node:stream'
import { Exec, type V1Status } from '@kubernetes/client-node'
import { describeError, InsituError } from '../errors.ts'
import type { Endpoint } from './endpoint.ts'
import { socketConfig } from './socket-config.ts'

export interface PodCommand {
  readonly namespace: string
  readonly pod: string
  readonly container: string
  /** Program and arguments: no shell. */
  readonly command: readonly string[]
  /** Told the program's standard output as it comes. */
  readonly onOutput: (chunk: string) => void
}

export interface PodExit {
  readonly code: number
  readonly stderr: string
}

/**
 * Runs a program in a pod, as `kubectl exec` does, with the account of the endpoint. It needs the rights to get and to
 * create pods/exec there: a WebSocket begins as a GET, and Kubernetes 1.35 wants `create` as well.
 * @throws InsituError POD_EXEC when it cannot be started.
 */
export async function execInPod(endpoint: Endpoint, run: PodCommand): Promise<PodExit> {
  let stderr = ''
  const errors = sink((chunk) => (stderr += chunk))
  const failed = (what: string, cause?: unknown): InsituError =>
    new InsituError('POD_EXEC', `${run.command[0] ?? ''} cannot be run in pod ${run.namespace}/${run.pod}: ${what}`, {
      status: 'UNAVAILABLE',
      fix: 'the account needs the rights to get and to create pods/exec in that namespace; the pod has to be running',
      ...(cause === undefined ? {} : { cause }),
    })
  const { promise, resolve, reject } = Promise.withResolvers<PodExit>()
  const ended = (status: V1Status): void => {
    if (status.status === 'Success') return resolve({ code: 0, stderr })
    const code = status.details?.causes?.find((cause) => cause.reason === 'ExitCode')?.message
    if (code === undefined) reject(failed(status.message ?? 'no reason was given'))
    else resolve({ code: Number(code), stderr })
  }
  const { namespace, pod, container, command } = run
  try {
    const output = sink(run.onOutput)
    const socket = await new Exec(socketConfig(endpoint)).exec(
      namespace,
      pod,
      container,
      [...command],
      output,
      errors,
      null,
      false,
      ended,
    )
    socket.on('close', () => reject(failed('the connection was closed')))
    socket.on('error', (error: Error) => reject(failed(error.message, error)))
  } catch (error) {
    throw failed(error instanceof Error ? describeError(error) : reasonOf(error))
  }
  return promise
}

/** Characters that lie across two chunks come whole. */
function sink(write: (text: string) => void): Writable {
  const decoder = new TextDecoder()
  return new Writable({
    write(chunk: Buffer, _, done) {
      write(decoder.decode(chunk, { stream: true }))
      done()
    },
  })
}

/** The library rejects with the events of its WebSocket, which are no errors. */
function reasonOf(event: unknown): string {
  const { message } = (typeof event === 'object' && event !== null ? event : {}) as { message?: unknown }
  return typeof message === 'string' ? message : 'the API server refused'
}
