import { startBuilds } from '../integration/builds/builds.ts'
import { workOff } from '../integration/builds/work-off.ts'
import type { BenchOptions } from './benches.ts'
import { type Report, summarize } from './report.ts'

/**
 * Builds that are queued at once, worked off by a real controller against a real API server: how fast, and how many ran
 * at one time. Their pods and the ends of their Jobs are written by this program, as fast as it can.
 */
export async function benchBuilds(options: BenchOptions): Promise<Report> {
  if (options.only.includes('real')) return (await import('./builds-real.ts')).benchRealBuilds(options)
  const { builds: count, progress } = options
  const limits = { perNamespace: 20, perNode: 4 }
  const nodes = 10
  const server = await startBuilds()
  try {
    for (let i = 2; i <= nodes; i += 1) await server.cluster.agent(`node-${i}`)
    const done = await workOff(server, { count, limits, id: 'crowd', timeout: 3_600_000, progress })
    const twice = [...done.jobs.values()].filter((jobs) => jobs !== 1).length
    const failed = done.builds.filter(({ status }) => status?.phase !== 'Succeeded').length
    if (twice > 0 || failed > 0 || done.jobs.size !== count) {
      throw new Error(`${twice} Builds have another number of Jobs than one, ${failed} did not succeed`)
    }
    const row = (what: string, unit: string, value: number, limit: number) => [
      { case: what, subject: 'seen', unit, values: [value] },
      { case: what, subject: 'limit', unit, values: [limit] },
    ]
    return summarize('builds', (what) => (what.startsWith('most') ? 'limit' : 'all of them'), [
      { case: `${count} Builds`, subject: 'all of them', unit: 's', values: [done.seconds] },
      { case: 'Builds in a second', subject: 'all of them', unit: '1/s', values: [count / done.seconds] },
      ...row('most at one time', 'Builds', done.most.all, limits.perNode * nodes),
      ...row('most of a namespace', 'Builds', Math.max(...done.most.namespaces.values()), limits.perNamespace),
      ...row('most on a named node', 'Builds', done.most.node, limits.perNode),
    ])
  } finally {
    await server.stop()
  }
}
