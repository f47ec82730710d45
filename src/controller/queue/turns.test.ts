import { describe, expect, it } from 'vitest'
import type { Build, BuildSpec, BuildStatus } from '../../api/builds/builds.ts'
import { turns } from './turns.ts'

const build = (name: string, spec: Partial<BuildSpec> = {}, status?: BuildStatus, second = 0): Build => {
  const [namespace = '', own = ''] = name.split('/')
  return {
    metadata: { namespace, name: own, uid: name, creationTimestamp: `2026-01-01T00:00:0${second}Z` },
    spec: { source: { dockerfile: 'FROM a' }, ...spec },
    ...(status ? { status } : {}),
  }
}
const started: BuildStatus = { startTime: '2026-01-01T00:00:00Z' }
const ended: BuildStatus = { ...started, completionTime: '2026-01-01T00:00:01Z' }
const limits = { perNamespace: 2, perNode: 2 }
const next = (builds: readonly Build[], nodes = 10): string[] =>
  [...turns(builds, nodes, limits)].filter(([, turn]) => turn === true).map(([uid]) => uid)

describe('turns', () => {
  it('go by age, then by name with its numbers', () => {
    const builds = [build('a/b-10'), build('a/b-9'), build('a/old', {}, undefined, 0), build('a/new', {}, undefined, 1)]
    expect(next(builds)).toEqual(['a/b-9', 'a/b-10'])
    expect([...turns(builds, 10, limits).keys()].at(-1)).toBe('a/new')
  })

  it('pass by a namespace that is full', () => {
    const builds = [build('a/1', {}, started), build('a/2', {}, started), build('a/3'), build('b/1', {}, undefined, 1)]
    expect(next(builds)).toEqual(['b/1'])
    expect(turns(builds, 10, limits).get('a/3')).toContain('2 Builds of namespace a run already')
  })

  it('keep to what a named node and all nodes together take', () => {
    const on = { node: 'n1' }
    const builds = [build('a/1', on, started), build('b/1', on, started), build('c/1', on), build('d/1')]
    expect(next(builds)).toEqual(['d/1'])
    expect(turns(builds, 10, limits).get('c/1')).toContain('on node n1')
    expect(next(builds, 1)).toEqual([])
    expect(turns(builds, 1, limits).get('d/1')).toBe('waits: 2 Builds run already')
    expect(turns(builds, 0, limits).get('d/1')).toBe('waits for a node that can build')
  })

  it('are for those that wait: not for ended, cancelled or OnPull ones, and ended ones take no place', () => {
    const builds = [
      ...[build('a/1', {}, ended), build('a/2', {}, ended), build('a/3', { cancelled: true })],
      ...[build('a/4', { trigger: 'OnPull' }), build('a/5')],
    ]
    expect([...turns(builds, 10, limits)]).toEqual([['a/5', true]])
  })
})
