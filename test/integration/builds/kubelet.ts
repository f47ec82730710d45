import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { type Outcome, type Work, workAnnotation } from '../../../src/api/builds/work.ts'
import { namespace, tokenAudience } from '../../../src/api/names.ts'
import type { KubernetesClient } from '../../../src/kernel/k8s/client.ts'
import { startClient } from '../fixtures/clients.ts'
import { createJobs, type JobObject } from '../fixtures/jobs.ts'
import { toolsBin } from '../fixtures/paths.ts'
import type { BoundPod } from '../install/installed.ts'

const program = fileURLToPath(new URL('../../../bin/insitu', import.meta.url))

export interface JobRunnerOptions {
  readonly admin: KubernetesClient
  /** Of the Builds. */
  readonly namespace: string
  /** Files of the pods. */
  readonly directory: string
  readonly gateway: { readonly port: number; readonly ca: string }
  /** Of the Builds' service account. */
  readonly pod: BoundPod
}

/** Runs the pods of Builds as a kubelet would, with the program of the pod, until it is stopped. */
export function runJobs(options: JobRunnerOptions) {
  const jobs = createJobs(options.admin, options.namespace)
  const taken = new Set<string>()
  const running = new Set<Promise<void>>()
  const stopped = new AbortController()
  const loop = (async () => {
    while (!stopped.signal.aborted) {
      for (const job of await jobs.list()) {
        const uid = job.metadata?.uid ?? ''
        if (taken.has(uid) || job.metadata?.labels?.['insitu.build/job'] !== 'build') continue
        taken.add(uid)
        const task: Promise<void> = runOne(job, jobs, options).finally(() => running.delete(task))
        running.add(task)
      }
      await pause(200)
    }
    await Promise.all(running)
  })()
  return {
    /** @throws what went wrong in a pod otherwise than by its build. */
    async stop(): Promise<void> {
      stopped.abort(new Error('stopped'))
      await loop
    },
  }
}

async function runOne(job: JobObject, jobs: ReturnType<typeof createJobs>, options: JobRunnerOptions): Promise<void> {
  const directory = join(options.directory, job.metadata?.name ?? '')
  const at = (name: string): string => join(directory, name)
  await mkdir(directory, { recursive: true })
  const { annotations } = job.spec.template.metadata as { annotations?: Readonly<Record<string, string>> }
  const work = JSON.parse(annotations?.[workAnnotation] ?? '') as Work
  const gateway = { host: '127.0.0.1', port: options.gateway.port, serverName: `buildkitd.${namespace}.svc` }
  await writeFile(at('work.json'), JSON.stringify({ ...work, gateway, ca: options.gateway.ca }))
  await writeFile(at('token'), await options.pod.token(tokenAudience))
  await jobs.start(job)
  const args = [
    ...['run-build', '--work', at('work.json'), '--token-file', at('token'), '--outcome', at('outcome')],
    ...['--directory', at('run'), '--registries', at('registries'), '--secrets', at('secrets')],
  ]
  await startClient(program, args, { env: { PATH: `${toolsBin}:${process.env['PATH'] ?? ''}` } }).ended
  await jobs.end(job, JSON.parse(await readFile(at('outcome'), 'utf8')) as Outcome)
}
