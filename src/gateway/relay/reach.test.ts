import { describe, expect, it } from 'vitest'
import { InsituError } from '../../kernel/errors.ts'
import { createActivity } from '../correlate/activity.ts'
import type { Call, RelayContext } from './context.ts'
import { placedWhenBack, type WaitedFor } from './reach.ts'

const away = { name: 'n1', ready: false, report: { state: 'draining', platforms: ['linux/amd64', 'linux/arm64'] } }
const both = ['linux/amd64', 'linux/s390x']

interface Sketch {
  readonly leaving?: () => string | undefined
  readonly directory?: object
  readonly waitedFor?: Partial<WaitedFor>
  /** So often no node is found. */
  readonly fails?: number
  /** How that is said. */
  readonly code?: string
}

/** What `placedWhenBack` reads of a gateway whose only node is being stopped. */
function stopped({
  leaving = () => undefined,
  directory = { nodes: () => [away] },
  waitedFor,
  fails = 2,
  code = 'NO_NODE',
}: Sketch) {
  const activity = createActivity()
  const config = { maxBuildDuration: 7200 }
  const context = { directory, placer: { leaving }, activity, config } as unknown as RelayContext
  const call = { signal: new AbortController().signal } as Call
  let tries = 0
  const place = (): Promise<string> =>
    ++tries > fails
      ? Promise.resolve('n1')
      : Promise.reject(new InsituError(code, 'n1 is being stopped', { status: 'FAILED_PRECONDITION' }))
  const placed = placedWhenBack(context, call, place, { platforms: [], ...waitedFor })
  placed.catch(() => undefined)
  return { placed, tries: () => tries, activity }
}

describe('a build whose only node is being stopped', () => {
  it('waits for the next agent there', async () => {
    const { placed, tries, activity } = stopped({})
    await Promise.resolve()
    await new Promise((resolve) => setImmediate(resolve))
    // A gateway that stops meanwhile waits for it.
    expect(activity.total).toBe(1)
    expect(await placed).toBe('n1')
    expect(tries()).toBe(3)
    expect(activity.total).toBe(0)
  })

  it('waits for the next agent also when nothing may be emulated', async () => {
    const { placed, tries } = stopped({ code: 'NO_NATIVE_NODE' })
    expect(await placed).toBe('n1')
    expect(tries()).toBe(3)
  })

  it('waits for the next agent when that builds what no other node takes, and one of those the rest', async () => {
    const { placed } = stopped({ waitedFor: { platforms: both, missing: () => Promise.resolve(['linux/amd64']) } })
    expect(await placed).toBe('n1')
  })

  it('waits for as long as its agent takes, which ends when the longest build there does', async () => {
    const { placed, tries } = stopped({ fails: 3, waitedFor: { moment: 10 } })
    expect(await placed).toBe('n1')
    expect(tries()).toBe(4)
  })

  it('waits a moment longer when the node is back and does not take it yet, and no more', async () => {
    let looks = 0
    const directory = { nodes: () => [++looks < 3 ? away : { ...away, ready: true }] }
    const { placed, tries } = stopped({ directory, fails: Infinity, waitedFor: { moment: 600 } })
    await expect(placed).rejects.toMatchObject({ code: 'NO_NODE', status: 'UNAVAILABLE' })
    expect(tries()).toBe(4)
  })

  it('is told that nothing is wrong with it when it has waited in vain', async () => {
    const { placed } = stopped({ fails: Infinity, waitedFor: { most: 700 } })
    const error = { code: 'NO_NODE', message: 'n1 is being stopped', status: 'UNAVAILABLE' }
    await expect(placed).rejects.toMatchObject(error)
  })

  it('waits between two pods of its agent, when there is none', async () => {
    const { placed } = stopped({ directory: { nodes: () => [], lately: () => ['n1'] } })
    expect(await placed).toBe('n1')
    const never = stopped({ directory: { nodes: () => [] } })
    await expect(never.placed).rejects.toMatchObject({ message: 'n1 is being stopped', status: 'FAILED_PRECONDITION' })
  })

  it('does not wait when the node goes away with it', async () => {
    const { placed, tries } = stopped({ leaving: () => 'its kubelet shuts it down' })
    await expect(placed).rejects.toThrow('n1 is being stopped')
    expect(tries()).toBe(1)
  })

  it('waits no longer when the node turns out to go away', async () => {
    let asked = 0
    const leaving = () => (++asked > 3 ? 'the cluster autoscaler removes it' : undefined)
    const { placed } = stopped({ leaving, fails: Infinity })
    await expect(placed).rejects.toMatchObject({ status: 'FAILED_PRECONDITION' })
  })

  it.each([
    ['that it does not want', { node: 'n2', platforms: [] }],
    ['that cannot build its platform', { platforms: ['linux/s390x'] }],
    ['that would have to emulate it', { platforms: ['linux/arm64'], nativeOnly: true }],
    ['that its caller may not use', { platforms: [], allows: () => false }],
    ['that builds only a part of it', { platforms: both }],
    ['that builds only a part of what is missing', { platforms: both, missing: () => Promise.resolve(both) }],
    ['that builds nothing of what is missing', { platforms: both, missing: () => Promise.resolve(['linux/s390x']) }],
  ])('does not wait for a node %s', async (_, waitedFor) => {
    const { placed, tries } = stopped({ waitedFor })
    await expect(placed).rejects.toMatchObject({ status: 'FAILED_PRECONDITION' })
    expect(tries()).toBe(1)
  })
})
