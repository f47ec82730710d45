import { describe, expect, it } from 'vitest'
import { demandKey } from '../../api/builds/on-pull.ts'
import { decidePull, type PullQuestion } from './decide.ts'
import { type Begun, type Order, pickBuild } from './orders.ts'

const name = 'h/app:1'
const digest = `sha256:${'a'.repeat(64)}`
const start = Date.parse('2026-01-01T00:00:00Z')

const order = (own: Partial<Order> = {}): Order => ({
  ...{ namespace: 'a', name: 'app', uid: 'u', generation: 1, created: '2026-01-01T00:00:00Z', names: [name] },
  ...{ serviceAccount: 'builder', platforms: undefined, revisions: 'Commits', atOnce: 2, pushes: false },
  ...{ demands: new Set<string>(), refused: undefined, unserved: undefined, ...own },
})
const begun = (own: Partial<Begun> = {}): Begun => ({
  ...{ namespace: 'a', by: 'u', names: [name], platforms: ['linux/amd64'], generation: 1, failures: 0 },
  ...{ created: '2026-01-01T00:00:00Z', ended: start, succeeded: true, digest, rebuilt: [], message: '', ...own },
})
const ask = (question: Partial<PullQuestion> & { readonly list?: readonly Begun[] } = {}) =>
  decidePull({
    ...{ name, asking: { node: 'n1', platform: 'linux/amd64', cannotBuild: undefined }, orders: [order()] },
    ...{ begun: () => question.list ?? [], refusal: () => undefined, found: undefined, now: start + 60_000 },
    ...question,
  })

describe('a pull', () => {
  it('is of no interest where no Build claims the name, or the policy refuses it', () => {
    expect(ask({ orders: [] })).toEqual({ kind: 'none' })
    expect(ask({ name: 'h/app:2' })).toEqual({ kind: 'none' })
    expect(ask({ refusal: () => 'no' })).toEqual({ kind: 'none' })
  })

  it('is a demand to the oldest Build that the policy lets have the name', () => {
    const orders = [order({ uid: 'first', namespace: 'b' }), order({ uid: 'second' })]
    expect(ask({ orders })).toMatchObject({ kind: 'demand', order: { uid: 'first' } })
    const refusal = ({ namespace }: Order): string | undefined => (namespace === 'b' ? 'no' : undefined)
    expect(ask({ orders, refusal })).toMatchObject({ kind: 'demand', order: { uid: 'second' } })
  })

  it('says where it comes from, and why that node cannot build', () => {
    const asking = { node: 'n2', platform: 'linux/arm64', cannotBuild: 'is cordoned' }
    expect(ask({ asking })).toMatchObject({
      key: demandKey(name, 'linux/arm64'),
      demand: { name, asked: 'n2', platform: 'linux/arm64', elsewhere: 'is cordoned', at: '2026-01-01T00:01:00.000Z' },
    })
  })

  it('waits for what goes on, for what was asked for already, and for a place', () => {
    expect(ask({ list: [begun({ ended: undefined })] })).toEqual({ kind: 'pending' })
    expect(ask({ orders: [order({ demands: new Set([demandKey(name, 'linux/amd64')]) })] })).toEqual({
      kind: 'pending',
    })
    const others = ['2', '3'].map((tag) => begun({ names: [`h/app:${tag}`], ended: undefined }))
    expect(ask({ list: others })).toEqual({ kind: 'pending' })
    expect(ask({ list: others.slice(1) })).toMatchObject({ kind: 'demand' })
  })

  it('of another name of what is built, was asked for or has failed is a pull of that', () => {
    const stable = 'h/app:stable'
    const orders = [order({ names: [name, stable] })]
    const both = begun({ names: [name, stable], ended: undefined })
    expect(ask({ name: stable, orders, list: [both] })).toEqual({ kind: 'pending' })
    const demands = new Set([demandKey(name, 'linux/amd64')])
    expect(ask({ name: stable, orders: [order({ names: [name, stable], demands })] })).toEqual({ kind: 'pending' })
    const failed = { ...both, ended: start, succeeded: false, digest: undefined }
    expect(ask({ name: stable, orders, list: [failed], now: start + 1000 })).toMatchObject({ kind: 'failed' })
    // It had fewer names when that was begun.
    expect(ask({ name: stable, orders, list: [begun({ ended: undefined })] })).toMatchObject({ kind: 'demand' })
    const open = [order({ names: ['h/app:v-${REVISION}', 'h/app:git-${REVISION}'] })]
    const commit = '0123456789'.repeat(4)
    const names = [`h/app:v-${commit}`, `h/app:git-${commit}`]
    for (const one of names) {
      expect(ask({ name: one, orders: open, list: [begun({ names, ended: undefined })] })).toEqual({ kind: 'pending' })
    }
  })

  it('gets what is there, and has it built again when it is gone from all nodes', () => {
    expect(ask({ found: digest, list: [begun()] })).toEqual({ kind: 'none' })
    expect(ask({ found: 'sha256:of-somebody-else' })).toEqual({ kind: 'none' })
    expect(ask({ list: [begun()] })).toMatchObject({ kind: 'demand' })
    // Not every gateway knows the image as soon as it is there.
    expect(ask({ list: [begun()], now: start + 10_000 })).toEqual({ kind: 'pending' })
    expect(ask({ list: [begun()], orders: [order({ pushes: true })] })).toEqual({ kind: 'none' })
  })

  it('of what was pushed goes to the registry, whatever failed after it, unless that is of another platform', () => {
    const orders = [order({ pushes: true })]
    const failed = begun({ ended: start + 59_000, succeeded: false, digest: undefined })
    expect(ask({ orders, list: [begun(), failed] })).toEqual({ kind: 'none' })
    expect(ask({ list: [begun(), failed] })).toMatchObject({ kind: 'failed' })
    const asking = { node: 'n3', platform: 'linux/arm64', cannotBuild: undefined }
    expect(ask({ asking, orders, list: [begun(), failed] })).toMatchObject({ kind: 'failed' })
    expect(ask({ asking, orders, list: [begun()] })).toMatchObject({ kind: 'demand' })
    // The registry has the newest.
    const other = begun({ ended: start + 1000, platforms: ['linux/arm64'] })
    expect(ask({ orders, list: [begun(), other] })).toMatchObject({ kind: 'demand' })
    expect(ask({ asking, orders, list: [begun(), other] })).toEqual({ kind: 'none' })
  })

  it('of another platform has it built for that too, unless the Build says for which', () => {
    const asking = { node: 'n3', platform: 'linux/arm64', cannotBuild: undefined }
    expect(ask({ asking, found: digest, list: [begun()] })).toMatchObject({ kind: 'demand' })
    // A rebuild is for the platforms of what it is of.
    const rebuilt = 'sha256:of-the-rebuild'
    const list = [begun({ rebuilt: [rebuilt] })]
    expect(ask({ asking, found: rebuilt, list })).toMatchObject({ kind: 'demand' })
    expect(ask({ found: rebuilt, list })).toEqual({ kind: 'none' })
    // What is there is no answer before its Build has said that it is this.
    const going = begun({ ended: undefined, digest: undefined })
    expect(ask({ asking, found: digest, list: [going] })).toEqual({ kind: 'pending' })
    expect(ask({ found: digest, list: [going] })).toEqual({ kind: 'none' })
    const orders = [order({ platforms: ['linux/amd64'] })]
    expect(ask({ asking, found: digest, list: [begun()], orders })).toEqual({ kind: 'none' })
    expect(ask({ asking, orders })).toMatchObject({
      kind: 'failed',
      reason: 'Build a/app builds it for linux/amd64, and node n3 is linux/arm64',
    })
  })

  it('fails while the last failure is young, the longer the more there were, and not once the Build was changed', () => {
    const failed = begun({ succeeded: false, digest: undefined, message: 'line\n\nerror: exit code: 3\n' })
    const at = (seconds: number, list: readonly Begun[], own: Partial<Order> = {}) =>
      ask({ list, now: start + seconds * 1000, orders: [order(own)] })
    expect(at(29, [failed])).toMatchObject({
      reason: 'line; error: exit code: 3 (Build a/app; the next pull after 00:00:30 UTC tries again)',
    })
    expect(at(30, [failed])).toMatchObject({ kind: 'demand' })
    expect(at(59, [{ ...failed, failures: 1 }])).toMatchObject({ kind: 'failed' })
    expect(at(1, [failed], { generation: 2 })).toMatchObject({ kind: 'demand' })
    expect(at(29, [begun({ ended: start - 1 }), failed])).toMatchObject({ kind: 'failed' })
  })

  it('takes from the tag what is a commit', () => {
    const orders = [order({ names: ['h/app:git-${REVISION}'] })]
    const commit = '0123456789'.repeat(4)
    expect(ask({ orders, name: `h/app:git-${commit}` })).toMatchObject({ kind: 'demand' })
    expect(ask({ orders, name: 'h/app:git-main' })).toMatchObject({ kind: 'failed' })
    const any = [order({ names: ['h/app:git-${REVISION}'], revisions: 'Any' })]
    expect(ask({ orders: any, name: 'h/app:git-main' })).toMatchObject({ kind: 'demand' })
  })
})

it('a Build that only says that a pull began it belongs to no other', () => {
  const metadata = { namespace: 'b', name: 'x', uid: 'y', labels: { 'insitu.build/pulled-by': 'u' } }
  const annotations = {
    'insitu.build/pull': JSON.stringify({ name, platforms: [], generation: 1, failures: 0, asked: 'n1' }),
  }
  expect(pickBuild({ metadata: { ...metadata, annotations }, spec: {} })).toBeUndefined()
  const owner = { apiVersion: 'insitu.build/v1alpha1', kind: 'Build', name: 'app', uid: 'u' }
  expect(pickBuild({ metadata: { ...metadata, annotations, ownerReferences: [owner] }, spec: {} })).toMatchObject({
    begun: { by: 'u', names: [name] },
  })
})
