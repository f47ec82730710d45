import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Build, buildResources } from '../../../src/api/builds/builds.ts'
import { buildUidLabel } from '../../../src/api/builds/work.ts'
import type { KubernetesClient } from '../../../src/kernel/k8s/client.ts'
import { resources } from '../../../src/kernel/k8s/resources.ts'
import { watchResource } from '../../../src/kernel/k8s/watch.ts'
import { createLogger } from '../../../src/kernel/log.ts'
import { createJobs, type JobObject } from '../fixtures/jobs.ts'
import { until } from '../fixtures/until.ts'
import { type Builds, startBuilds } from './builds.ts'
import { mortal } from './mortal.ts'

let builds: Builds
let admin: KubernetesClient
/** Every Job there ever was, by the Build it is for: what was deleted counts as well. */
const made = new Map<string, Set<string>>()
let watch: ReturnType<typeof watchResource>

beforeAll(async () => {
  builds = await startBuilds()
  admin = builds.admin
  watch = watchResource<JobObject, JobObject>({
    ...{ client: admin, resource: resources.jobs, pick: (job) => job, logger: createLogger({ level: 'silent' }) },
    onUpsert: (_, { metadata }) => {
      const build = metadata?.labels?.[buildUidLabel] ?? ''
      made.set(build, (made.get(build) ?? new Set()).add(metadata?.uid ?? ''))
    },
  })
  await watch.whenSynced()
})
afterAll(async () => {
  await watch?.stop()
  await builds?.stop()
})

describe('a controller that dies', () => {
  /** More than a Build takes from its first to its last write: the last ones kill nobody. */
  const steps = Array.from({ length: 9 }, (_, i) => i + 1)
  const cases = steps.flatMap((write) => (['before', 'after'] as const).map((moment) => [write, moment] as const))

  test('at every write, before and after it: each Build is built once, and its end is known', async () => {
    let deaths = 0
    const namespaces = await Promise.all(
      cases.map(async ([write, moment]) => {
        const name = `death-${write}-${moment}`
        await builds.namespace(name)
        return name
      }),
    )
    for (const [i, [write, moment]] of cases.entries()) {
      const namespace = namespaces[i] ?? ''
      const jobs = createJobs(admin, namespace)
      const death = Promise.withResolvers<void>()
      const client = mortal(await builds.client(), { write, moment }, () => {
        deaths += 1
        death.resolve()
      })
      const first = await builds.controller({ client, identity: `first-${i}`, leaseDuration: 900 })
      await until('it leads', () => first.leads())
      // A directory on a claim makes more writes: a finalizer before, and a Job after.
      const { metadata } = await builds.make(
        'b',
        { source: { workspace: {} }, workspace: { claimName: 'c' }, cleanUp: { pod: '0s' } },
        namespace,
      )
      const uid = metadata?.uid ?? ''
      const play = async (): Promise<boolean> => {
        for (const job of await jobs.list()) {
          const over = job.status?.conditions?.some((c) => c.type === 'Complete')
          if (over || (job.metadata as { deletionTimestamp?: string }).deletionTimestamp) continue
          if (job.metadata?.name?.endsWith('-clean')) await jobs.finish(job).catch(() => undefined)
          else await jobs.end(job, { result: 'succeeded', digest: 'sha256:x' }).catch(() => undefined)
        }
        await jobs.collect()
        const build = await admin.get<Build>(buildResources.builds, { namespace, name: 'b' })
        return build.status?.phase === 'Succeeded' && (build.metadata?.finalizers ?? []).length === 0
      }
      let dead = false
      void death.promise.then(() => (dead = true))
      const gone = async (): Promise<boolean> => (await play()) && (await jobs.list()).length === 0
      await until('an end or a death', async () => (await gone()) || dead)
      // It is gone without a word: its Lease is not given back.
      const second = dead ? await builds.controller({ identity: `second-${i}`, leaseDuration: 900 }) : first
      await until('it to come to its end', gone)
      const { status } = await builds.get('b', namespace)
      expect(status, `${write} ${moment}`).toMatchObject({ phase: 'Succeeded', attempt: 1, digest: 'sha256:x' })
      const kinds = [...(made.get(uid) ?? [])]
      // One that builds and one that cleans.
      expect(kinds, `${write} ${moment}`).toHaveLength(2)
      await first.stop()
      if (second !== first) await second.stop()
    }
    // It really died at most of these places.
    expect(deaths).toBeGreaterThanOrEqual(14)
  }, 280_000)
})
