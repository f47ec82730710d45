import { describe, expect, it } from 'vitest'
import type { Build } from '../../api/builds/builds.ts'
import { plan } from '../plan.ts'

const most = 4000

/** A look at so many Builds that wait for pulls, as they are when each has said in its status what it claims. */
function settled(nameOf: (i: number) => string | readonly string[]): {
  readonly builds: readonly Build[]
  readonly seconds: number
} {
  const source = { git: { url: 'https://h/a.git' } }
  const look = (builds: readonly Build[]): readonly Build[] => {
    const view = { builds, templates: new Map(), jobs: new Map(), pods: new Map(), buildNodes: 3 }
    const { work } = plan(view, { perNamespace: 20, perNode: 4 }, new Date('2026-01-01T00:00:00Z'))
    const said = new Map(work.flat().map((one) => [one.build, 'status' in one ? { status: one.status } : {}] as const))
    return builds.map((build) => ({ ...build, ...said.get(build) }))
  }
  const made = Array.from({ length: most }, (_, i): Build => {
    // The oldest is the last, since nothing says in which order a watch has them.
    const creationTimestamp = new Date(Date.parse('2026-01-01T00:00:00Z') - i * 1000).toISOString()
    const metadata = { namespace: 'team', name: `b-${i}`, uid: `u-${i}`, creationTimestamp }
    return { metadata, spec: { source, trigger: 'OnPull', output: { names: [nameOf(i)].flat() } } }
  })
  const first = look(made)
  // Not the time of the clock, of which others on the machine may take any part.
  const before = process.cpuUsage()
  const builds = look(first)
  return { builds, seconds: process.cpuUsage(before).user / 1e6 }
}

const accepted = ({ status }: Build) => status?.conditions?.find(({ type }) => type === 'Accepted')
const refused = (builds: readonly Build[]) => builds.filter((build) => accepted(build)?.status !== 'True')

describe('thousands of Builds that wait for pulls', () => {
  // Each look at them took 9 s, and 41 s at twice as many, when each was compared with each: longer than a controller may
  // act on its lease, so that nothing was done any more for anybody.
  it.for([
    ['a repository each', (i: number) => `images.internal/x${i}:v1`],
    ['tags of one repository', (i: number) => `images.internal/x:v${i}`],
    ['revisions in one repository', (i: number) => `images.internal/x:v${i}-\${REVISION}`],
    // Comparing the repositories, too, took 17 s of a look.
    [
      'revisions in one repository of a long name, ten each',
      (i: number) =>
        Array.from({ length: 10 }, (_, n) => `images.internal/${'team/'.repeat(40)}x:v${i}-${n}-\${REVISION}`),
    ],
  ] as const)('are looked at in no time: %s', ([, nameOf]) => {
    const { builds, seconds } = settled(nameOf)
    expect(refused(builds)).toEqual([])
    expect(seconds).toBeLessThan(2)
  })

  it.for([
    ['one name', () => 'images.internal/x:v1'],
    ['any revision of one repository', () => 'images.internal/x:${REVISION}'],
    ['one that covers all others', (i: number) => `images.internal/x:${i === most - 1 ? '' : `v${i}-`}\${REVISION}`],
  ] as const)('are looked at in no time, and the oldest has what all of them claim: %s', ([, nameOf]) => {
    const { builds, seconds } = settled(nameOf)
    expect(refused(builds)).toHaveLength(most - 1)
    const whose = new Set(refused(builds).map((build) => accepted(build)?.message))
    expect([...whose]).toEqual([expect.stringContaining(`the older Build team/b-${most - 1} has`)])
    expect(seconds).toBeLessThan(2)
  })
})
