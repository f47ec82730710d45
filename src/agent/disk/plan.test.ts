import { describe, expect, it } from 'vitest'
import type { FileSystemUse } from '../../api/disk.ts'
import { limitFindings } from './findings.ts'
import { kubeletDefaults, limitsOf } from './limits.ts'
import { atLimit, type Holdings, needs, nextPause, planReclaim } from './plan.ts'

const fs = (bytes: number, inodes: number, holds = ['containerd', 'buildkit', 'temporary']): FileSystemUse => ({
  holds,
  path: '/var/lib',
  bytes: { total: 1000, used: bytes },
  inodes: { total: 1000, used: inodes },
  limits: limitsOf({ bytes: 1000, inodes: 1000 }, kubeletDefaults, {}),
})
const holdings: Holdings = {
  cacheBytes: 400,
  unusedCacheBytes: 300,
  stickyCacheBytes: 100,
  leaked: 2,
  temporary: ['/t/buildkit1'],
  untagged: ['sha256:a'],
  images: ['docker.io/a/b:1', 'docker.io/a/b:2'],
  runningBuilds: 0,
  alone: false,
}

describe('the need', () => {
  it('begins at the high mark and lasts to the low one', () => {
    expect(needs([fs(799, 0)], false)).toEqual([])
    expect(needs([fs(800, 0)], false)).toMatchObject([{ bytes: 100, inodes: 0 }])
    expect(needs([fs(750, 0)], false)).toEqual([])
    expect(needs([fs(750, 0)], true)).toMatchObject([{ bytes: 50 }])
    expect(needs([fs(699, 0)], true)).toEqual([])
  })
  it('is one of inodes too', () => {
    expect(needs([fs(0, 900)], false)).toMatchObject([{ bytes: 0, inodes: 100, inodeShare: 1 / 9 }])
  })
  it('is of each file system by itself', () => {
    expect(needs([fs(0, 0, ['containerd']), fs(900, 0, ['buildkit'])], false)).toMatchObject([{ holds: ['buildkit'] }])
  })
})

describe('the plan', () => {
  it('is empty without a need', () => {
    expect(planReclaim([], holdings)).toEqual([])
  })
  it('takes what nobody wants first, then cache down to what is needed, images, and the cache that is kept longest', () => {
    expect(planReclaim(needs([fs(800, 0)], false), holdings)).toEqual([
      { do: 'leaked' },
      { do: 'temporary', paths: ['/t/buildkit1'] },
      { do: 'untagged', names: ['sha256:a'] },
      { do: 'cache', keepBytes: 300, all: false },
      { do: 'images', names: ['docker.io/a/b:1', 'docker.io/a/b:2'] },
      { do: 'cache', keepBytes: 300, all: true },
    ])
  })
  it('never tells BuildKit to keep 0 bytes, which means no limit to it', () => {
    expect(planReclaim(needs([fs(999, 0)], false), { ...holdings, cacheBytes: 10 })).toContainEqual({
      do: 'cache',
      keepBytes: 1,
      all: false,
    })
  })
  it('leaves images alone while builds run', () => {
    const steps = planReclaim(needs([fs(800, 0)], false), { ...holdings, runningBuilds: 1 })
    expect(steps.map((step) => step.do)).toEqual(['leaked', 'temporary', 'untagged', 'cache', 'cache'])
  })
  it('leaves cache to the daemon, and images that come after it, while none runs', () => {
    const steps = planReclaim(needs([fs(800, 0)], false), { ...holdings, alone: true })
    expect(steps.map((step) => step.do)).toEqual(['leaked', 'temporary', 'untagged'])
  })
  it('takes a share of the cache where inodes are short, a tenth at least', () => {
    expect(planReclaim(needs([fs(0, 900)], false), holdings)).toContainEqual({
      do: 'cache',
      keepBytes: 366,
      all: false,
    })
    expect(planReclaim(needs([fs(0, 801)], true), holdings)).toContainEqual({ do: 'cache', keepBytes: 370, all: false })
  })
  it('does not touch cache and images for a file system that holds none', () => {
    const steps = planReclaim(needs([fs(900, 0, ['buildkit', 'temporary']), fs(0, 0, ['containerd'])], false), holdings)
    expect(steps.map((step) => step.do)).toEqual(['temporary'])
  })
  it('has no step for what is not there', () => {
    const nothing = {
      ...holdings,
      unusedCacheBytes: 0,
      stickyCacheBytes: 0,
      leaked: 0,
      temporary: [],
      untagged: [],
      images: [],
    }
    expect(planReclaim(needs([fs(999, 999)], false), nothing)).toEqual([])
  })
})

it('a node at the kubelet’s threshold takes no builds, of bytes or of inodes', () => {
  const codes = (use: FileSystemUse) => limitFindings(atLimit([use])).map(({ code, severity }) => [code, severity])
  expect(codes(fs(849, 949))).toEqual([])
  expect(codes(fs(850, 949))).toEqual([['DISK_LIMIT', 'fatal']])
  expect(codes(fs(849, 950))).toEqual([['INODES_LIMIT', 'fatal']])
})

it('tries that remove nothing become rarer, up to the patience; what was removed brings the next look at once', () => {
  const pause = (before: number, removed: number) => nextPause(before, removed, 1000, 30_000)
  const waits = [0, 0, 0, 0, 0, 0, 0].reduce<number[]>((all, none) => [...all, pause(all.at(-1) ?? 0, none)], [])
  expect(waits).toEqual([1000, 2000, 4000, 8000, 16_000, 30_000, 30_000])
  expect(pause(30_000, 1)).toBe(0)
})
