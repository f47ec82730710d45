import { describe, expect, it } from 'vitest'
import { fromFlags, type KubeletDiskConfig, thresholds } from './kubelet.ts'
import { kubeletDefaults, type KubeletThresholds, limitsOf } from './limits.ts'

const total = { bytes: 1000, inodes: 1000 }
const none = { freeBytes: [], freeInodes: [] }

describe('the marks of a file system', () => {
  it('lie below the kubelet’s defaults', () => {
    expect(limitsOf(total, kubeletDefaults, {})).toEqual({
      bytes: { limit: 850, high: 800, low: 700 },
      inodes: { limit: 950, high: 900, low: 800 },
    })
  })
  it('follow a kubelet that is stricter, in percent or in bytes', () => {
    const kubelet = thresholds([
      { imageGCHighThresholdPercent: 70, evictionHard: { 'imagefs.available': '200', 'nodefs.inodesFree': '30%' } },
    ])
    expect(limitsOf(total, kubelet, {})).toEqual({
      bytes: { limit: 700, high: 650, low: 550 },
      inodes: { limit: 700, high: 650, low: 550 },
    })
  })
  it('leave room for what a build writes where no kubelet watches', () => {
    expect(limitsOf(total, kubeletDefaults, { followKubelet: false })).toEqual({
      bytes: { limit: 1000, high: 950, low: 850 },
      inodes: { limit: 1000, high: 950, low: 850 },
    })
  })
  it('are what was configured, but never at the kubelet’s threshold', () => {
    expect(limitsOf(total, kubeletDefaults, { highPercent: 50, lowPercent: 40 }).bytes).toEqual({
      limit: 850,
      high: 500,
      low: 400,
    })
    expect(limitsOf(total, kubeletDefaults, { highPercent: 99, lowPercent: 98 }).bytes).toEqual({
      limit: 850,
      high: 840,
      low: 840,
    })
    expect(limitsOf(total, kubeletDefaults, { inodesHighPercent: 20 }).inodes).toMatchObject({ high: 200, low: 100 })
  })
  it('do not exist for inodes where their number is not fixed', () => {
    expect(limitsOf({ bytes: 1000, inodes: 0 }, kubeletDefaults, {}).inodes.limit).toBe(Infinity)
  })
})

describe('the kubelet’s thresholds', () => {
  it('come from its file, then from its flags', () => {
    const file = { imageGCHighThresholdPercent: 90, evictionHard: { 'nodefs.available': '10%' } }
    const flags = fromFlags([
      '--v=2',
      '--eviction-hard=imagefs.available<1Gi,nodefs.inodesFree<5%',
      '--image-gc-high-threshold',
      '60',
    ])
    expect(thresholds([file], flags)).toEqual({
      imageGcHigh: 0.6,
      freeBytes: [{ count: 2 ** 30 }],
      freeInodes: [{ share: 0.05 }],
    })
  })
  it('are the defaults for what is absent or nonsense', () => {
    expect(thresholds([{}], fromFlags([]))).toEqual(kubeletDefaults)
    expect(thresholds([{ imageGCHighThresholdPercent: 'much' }])).toEqual(kubeletDefaults)
    expect(thresholds([{ evictionHard: 'much' }])).toEqual(kubeletDefaults)
  })
  const memory = { evictionHard: { 'memory.available': '500Mi' } }
  const own = { evictionHard: { 'imagefs.available': '30%', 'nodefs.available': '20%', 'nodefs.inodesFree': '10%' } }
  const ofOwn = { imageGcHigh: 0.85, freeBytes: [{ share: 0.2 }, { share: 0.3 }], freeInodes: [{ share: 0.1 }] }
  it.each<[string, KubeletDiskConfig[], KubeletThresholds]>([
    ['of the file stay where a drop-in names another signal', [own, memory], ofOwn],
    ['of a kubelet whose file names none are the defaults, below what a drop-in names', [{}, memory], kubeletDefaults],
    [
      'are merged signal by signal, in the order of the drop-ins, and null takes one away',
      [own, { evictionHard: { 'imagefs.available': null } }, { evictionHard: { 'nodefs.available': '25%' } }],
      { ...ofOwn, freeBytes: [{ share: 0.25 }] },
    ],
    ['are none after a drop-in that takes all away', [own, { evictionHard: null }], { ...none, imageGcHigh: 0.85 }],
    ['of a file that names others only are none', [memory], { ...none, imageGcHigh: 0.85 }],
    [
      'of a file that is to be merged with the defaults are these',
      [{ ...memory, mergeDefaultEvictionSettings: true }],
      kubeletDefaults,
    ],
    [
      'are switched off by 0 and by 100 percent',
      [{ evictionHard: { 'imagefs.available': '100%', 'nodefs.available': '0%', 'nodefs.inodesFree': '10%' } }],
      { ...ofOwn, freeBytes: [] },
    ],
  ])('%s', (_, files, expected) => expect(thresholds(files)).toEqual(expected))
  it('of the flag replace those of all files', () => {
    const flags = fromFlags(['--eviction-hard=memory.available<1Gi'])
    expect(thresholds([own, memory], flags)).toEqual({ ...none, imageGcHigh: 0.85 })
  })
})
