import { expect, it } from 'vitest'
import type { NodeOrigins } from '../../api/built-on.ts'
import { builtOn, sha } from '../../../test/unit/rebuild-sketch.ts'
import { handMade, planByHand } from './by-hand.ts'
import { readImages } from './images.ts'
import { planRebuild } from './plan.ts'
import { reportOf, reportText } from './report.ts'

const [old, now] = [sha('0'), sha('1')]
const on = (base: string, digest: string) => [{ name: `r.io/${base}:1`, digest, pinned: false }]
const owner = 'service-account n/ci'
const nodes: NodeOrigins[] = [
  {
    node: 'b',
    images: [
      { name: 'r.io/hand:1', digest: sha('a'), owner, bases: on('os', old) },
      { name: 'r.io/fresh:1', digest: sha('b'), owner, bases: on('os', now) },
      { name: 'r.io/maker:1', digest: sha('c'), owner, bases: on('os', old) },
      { name: 'r.io/behind:1', digest: sha('d'), owner: 'service-account m/ci', bases: on('maker', sha('c')) },
      { name: 'r.io/other:1', digest: sha('e'), owner, bases: on('else', old) },
    ],
  },
  {
    node: 'a',
    images: [
      { name: 'r.io/hand:1', digest: sha('a') },
      { name: 'r.io/lost:1', digest: sha('f') },
    ],
  },
]
const images = readImages([builtOn('maker', sha('c'), { os: old })], new Map())
const question = { base: undefined, digests: new Map([['r.io/os:1', { digest: now }]]) }
const made = new Set(images.flatMap(({ names }) => names))
const plan = (namespace?: string) =>
  planByHand(handMade(nodes, made, namespace), planRebuild(images, question), images, question)

it('what no Build makes is reported with its nodes, and is not rebuilt', () => {
  const found = Object.fromEntries(plan().map(({ image, ...rest }) => [image.name, { nodes: image.nodes, ...rest }]))
  expect(found).toMatchObject({
    'r.io/hand:1': {
      ...{ nodes: ['a', 'b'], result: 'skipped', because: [{ name: 'r.io/os:1', from: old, to: now }] },
      reason: expect.stringMatching(
        /^built by hand: nothing says how to build it again; .*name=r\.io\/hand:1$/,
      ) as string,
    },
    'r.io/fresh:1': { nodes: ['b'], result: 'current' },
    // Its base is about to be another one.
    'r.io/behind:1': { result: 'skipped', because: [{ name: 'r.io/maker:1', from: sha('c'), to: undefined }] },
    'r.io/lost:1': { nodes: ['a'], reason: 'its bases are not known: it was built without provenance, or never' },
    'r.io/other:1': { result: 'current' },
  })
  expect(Object.keys(found)).toHaveLength(5)
})

it('of one namespace it is what that namespace has built', () => {
  expect(plan('n').map(({ image }) => image.name)).toEqual(['r.io/fresh:1', 'r.io/hand:1', 'r.io/other:1'])
  expect(plan('m').map(({ image }) => image.name)).toEqual(['r.io/behind:1'])
})

it('has a line of its own, and leaves the exit code alone', () => {
  const report = reportOf(planRebuild(images, question), undefined, plan('n'), { seconds: 0, interrupted: false })
  expect(report).toMatchObject({ unknown: 0, counts: { planned: 1, skipped: 1, current: 2 } })
  expect(reportText(report)).toMatch(
    /skipped +- +r\.io\/hand:1 +- +a{12} +a{12} +a,b +r\.io\/os:1 0{12} → 1{12}; built by hand/,
  )
})
