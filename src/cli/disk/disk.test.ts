import { describe, expect, it, test } from 'vitest'
import type { NodeUsage } from '../../api/disk.ts'
import { readPruneRequest } from '../../api/prune-request.ts'
import { pruneRequest } from './filter.ts'
import { formatBytes, parseAge, parseBytes } from './quantity.ts'
import { usageText } from './usage-view.ts'

test.each([
  [0, '0 B'],
  [999, '999 B'],
  [1500, '1.5 kB'],
  [99_960, '100 kB'],
  [999_999, '1.0 MB'],
  [-2e9, '-2.0 GB'],
])('%d bytes are %s', (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text)
})

test('sizes and ages are read', () => {
  expect(['500MB', '10GiB', '1.5g', '7'].map(parseBytes)).toEqual([5e8, 10 * 2 ** 30, 1.5e9, 7])
  expect(['90s', '30m', '24h', '7d'].map(parseAge)).toEqual([9e4, 18e5, 864e5, 6048e5])
  for (const text of ['', '5 apples', '-1MB']) expect(() => parseBytes(text)).toThrow('is not a size')
  for (const text of ['', '5', '1w']) expect(() => parseAge(text)).toThrow('is not a duration')
})

describe('the options of prune', () => {
  it('become a request that the agent reads', () => {
    const filter = ['kind=image,until=24h', 'kind=exec.cachemount', 'repository=team/app,repository=busybox']
    const request = pruneRequest({ filter, keepStorage: '1GB', all: true, dryRun: true })
    expect(request).toEqual({
      kinds: ['image', 'exec.cachemount'],
      repositories: ['docker.io/team/app', 'docker.io/library/busybox'],
      unusedFor: 86_400_000,
      keepBytes: 1e9,
      all: true,
      dryRun: true,
    })
    expect(readPruneRequest(JSON.parse(JSON.stringify(request)))).toEqual(request)
    expect(readPruneRequest(pruneRequest({ filter: [] }))).toEqual({})
  })
  it.each([
    ['kind=everything', 'there is no kind everything'],
    ['size=5', 'is not understood'],
    ['until', 'is not understood'],
    ['until=soon', 'is not a duration'],
    ['repository=app:v1', 'without tag'],
  ])('%s is refused', (term, says) => {
    expect(() => pruneRequest({ filter: [term] })).toThrow(says)
  })
})

test.each([
  [null],
  [[]],
  [{ kind: ['image'] }],
  [{ kinds: ['images'] }],
  [{ kinds: 'image' }],
  [{ unusedFor: '5' }],
  [{ keepBytes: -1 }],
  [{ dryRun: 1 }],
])('an agent refuses %j rather than to remove more than was meant', (body) => {
  expect(() => readPruneRequest(body)).toThrow('the request for pruning is wrong')
})

test('usage is shown by node, by repository, by kind', () => {
  const marks = { low: 700, high: 800, limit: 850 }
  const of = (node: string): NodeUsage => ({
    version: 1,
    node,
    fileSystems: [
      {
        holds: ['containerd'],
        path: '/',
        bytes: { total: 1000, used: 420 },
        inodes: { total: 1000, used: 70 },
        limits: { bytes: marks, inodes: marks },
      },
    ],
    cache: [{ kind: 'regular', records: 3, bytes: 2e6, inUse: 1e6 }],
    reclaimable: 1e6,
    images: [{ repository: 'docker.io/team/app', images: 2, bytes: 5e6, unique: 3e6, built: 2, pinned: 1, inUse: 1 }],
    temporary: { entries: 1, bytes: 4096, inodes: 1 },
    leaked: { leases: 2, bytes: 7e6 },
    runningBuilds: 1,
  })
  const nodes = [of('node1'), of('node2')]
  expect(usageText(nodes, 'node').split('\n')[1]?.split(/ {2,}/)).toEqual([
    'node1',
    '42 %',
    '7 %',
    '80 %',
    '2.0 MB',
    '1.0 MB',
    '3.0 MB',
    '4.1 kB',
    '7.0 MB',
    '1',
  ])
  expect(usageText(nodes, 'repository').split('\n')[1]?.split(/ {2,}/)).toEqual([
    'docker.io/team/app',
    '2',
    '4',
    '10 MB',
    '6.0 MB',
    '4',
    '2',
    '2',
  ])
  expect(
    usageText(nodes, 'kind')
      .split('\n')
      .slice(1)
      .map((line) => line.split(/ {2,}/)),
  ).toEqual([
    ['regular', '6', '4.0 MB', '2.0 MB'],
    ['image', '4', '6.0 MB'],
    ['temporary', '2', '8.2 kB'],
    ['leaked', '4', '14 MB'],
  ])
})
