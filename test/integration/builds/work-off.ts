import { apiVersion, type Build, buildResources } from '../../../src/api/builds/builds.ts'
import { buildUidLabel } from '../../../src/api/builds/work.ts'
import { isAlreadyExists } from '../../../src/kernel/k8s/failure.ts'
import { resources } from '../../../src/kernel/k8s/resources.ts'
import { watchResource } from '../../../src/kernel/k8s/watch.ts'
import { createLogger } from '../../../src/kernel/log.ts'
import { createJobs, type JobObject } from '../fixtures/jobs.ts'
import { until } from '../fixtures/until.ts'
import type { Builds } from './builds.ts'

/** What a crowd of Builds came to. */
export interface WorkedOff {
  /** Seconds from the controller's start to the last Build's end. */
  readonly seconds: number
  /** Most Builds that had started and not ended at one time: in all, by namespace, and of those that name a node. */
  readonly most: { readonly all: number; readonly namespaces: ReadonlyMap<string, number>; readonly node: number }
  /** By namespace: Builds in the order in which their turns came. */
  readonly order: ReadonlyMap<string, readonly string[]>
  /** Jobs ever made, by the UID of their Build. */
  readonly jobs: ReadonlyMap<string, number>
  readonly builds: readonly Build[]
}

export interface Crowd {
  /** How many there are, of which every eighth names node-1. */
  readonly count: number
  readonly limits: { readonly perNamespace: number; readonly perNode: number }
  /** Part of the names of namespaces. */
  readonly id: string
  /** Milliseconds that all of it may take. */
  readonly timeout: number
  readonly progress?: (text: string) => void
}

/**
 * Queues Builds in three namespaces and has a real controller work them off against a real API server. Job controller
 * and kubelet are played: pods and ends of Jobs are written as those would write them, one after the other.
 */
export async function workOff(builds: Builds, { count, limits, id, timeout, progress }: Crowd): Promise<WorkedOff> {
  const { admin } = builds
  const logger = createLogger({ level: 'silent' })
  const namespaces = ['a', 'b', 'c'].map((name) => `${id}-${name}`)
  for (const namespace of namespaces) await builds.namespace(namespace)
  const made = Array.from({ length: count }, (_, i) => ({
    namespace: namespaces[i % 4 === 3 ? 2 : i % 2] ?? '',
    name: `build-${i}`,
    ...(i % 8 === 0 ? { node: 'node-1' } : {}),
  }))
  const source = { dockerfile: 'FROM scratch' }
  // Times have whole seconds, and names that count up decide within one: what is made side by side has an order, too.
  for (let i = 0; i < made.length; i += 20) {
    await Promise.all(
      made.slice(i, i + 20).map(({ namespace, name, ...hint }) => {
        const object = {
          apiVersion,
          kind: 'Build',
          metadata: { name },
          spec: { source, cleanUp: { pod: '1h' }, ...hint },
        }
        // Admission policies of a server that has just started may not know their parameters yet.
        return until(`Build ${name} to be taken`, () =>
          admin.create<Build>(buildResources.builds, { namespace }, object).then(() => true, isAlreadyExists),
        )
      }),
    )
  }
  progress?.(`${count} Builds are queued`)

  const running = new Map<string, Build>()
  const order = new Map<string, string[]>(namespaces.map((namespace) => [namespace, []]))
  const most = { all: 0, namespaces: new Map<string, number>(), node: 0 }
  const ended = new Set<string>()
  const look = (build: Build): void => {
    const { namespace = '', name = '', uid = '' } = build.metadata ?? {}
    if (!order.has(namespace) || build.status?.startTime === undefined) return
    if (build.status.completionTime !== undefined) {
      running.delete(uid)
      ended.add(uid)
      return
    }
    if (!running.has(uid)) order.get(namespace)?.push(name)
    running.set(uid, build)
    const now = [...running.values()]
    most.all = Math.max(most.all, now.length)
    most.node = Math.max(most.node, now.filter(({ spec }) => spec.node === 'node-1').length)
    const own = now.filter(({ metadata }) => metadata?.namespace === namespace).length
    most.namespaces.set(namespace, Math.max(most.namespaces.get(namespace) ?? 0, own))
  }
  const watched = watchResource<Build, Build>({
    ...{ client: admin, resource: buildResources.builds, pick: (build) => build, logger },
    onUpsert: (_, build) => look(build),
  })
  const seen = new Map<string, Set<string>>()
  const todo: JobObject[] = []
  const watchedJobs = watchResource<JobObject, true>({
    ...{ client: admin, resource: resources.jobs, labelSelector: buildUidLabel, logger },
    pick: (job) => {
      const { labels, uid = '', namespace = '' } = job.metadata ?? {}
      const build = labels?.[buildUidLabel] ?? ''
      if (!order.has(namespace) || seen.get(build)?.has(uid)) return true
      seen.set(build, (seen.get(build) ?? new Set()).add(uid))
      todo.push(job)
      return true
    },
  })
  await Promise.all([watched.whenSynced(), watchedJobs.whenSynced()])
  const begun = Date.now()
  const controller = await builds.controller({ limits, identity: id })
  const play = new Map(namespaces.map((namespace) => [namespace, createJobs(admin, namespace)]))
  const stop = new AbortController()
  const player = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      // The newest first: the order of turns does not depend on the order of ends.
      const job = todo.pop()
      if (job === undefined) await new Promise((resolve) => setTimeout(resolve, 20))
      else {
        const outcome = { result: 'succeeded', digest: `sha256:${'a'.repeat(64)}`, node: 'node-1' } as const
        await play.get(job.metadata?.namespace ?? '')?.end(job, outcome)
      }
    }
  }
  const players = Promise.all([player(), player()])
  try {
    let told = 0
    await until(
      `${count} Builds to end`,
      () => {
        if (progress && ended.size >= told + 100) progress(`${(told = ended.size)} have ended`)
        return Promise.resolve(ended.size >= count)
      },
      timeout,
    )
  } finally {
    stop.abort(new Error('all have ended'))
    await players
    await controller.stop()
    await Promise.all([watched.stop(), watchedJobs.stop()])
  }
  const all = await Promise.all(namespaces.map((namespace) => admin.list<Build>(buildResources.builds, { namespace })))
  const jobs = new Map([...seen].map(([build, uids]) => [build, uids.size]))
  return { seconds: (Date.now() - begun) / 1000, most, order, jobs, builds: all.flat() }
}
