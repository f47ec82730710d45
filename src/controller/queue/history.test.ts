import { describe, expect, it } from 'vitest'
import type { Build, BuildTemplate } from '../../api/builds/builds.ts'
import { beyondHistory } from './history.ts'

type Phase = 'Succeeded' | 'Failed' | 'Cancelled'
const build = (name: string, end: number | undefined, phase: Phase, template = 't', namespace = 'a'): Build => ({
  metadata: { namespace, name, uid: `${namespace}/${name}`, creationTimestamp: '2026-01-01T00:00:00Z' },
  spec: { template: { name: template } },
  status: {
    phase,
    ...(end === undefined ? {} : { completionTime: `2026-01-01T00:00:${String(end).padStart(2, '0')}Z` }),
  },
})
const template = (history: object): BuildTemplate => ({ spec: { history } })
const gone = (builds: readonly Build[], templates: Readonly<Record<string, BuildTemplate>>): string[] =>
  beyondHistory({
    ...{ builds, templates: new Map(Object.entries(templates)), jobs: new Map(), pods: new Map(), buildNodes: 1 },
  }).map(({ build: { metadata } }) => `${metadata?.namespace}/${metadata?.name}`)

describe('the history of a template', () => {
  it('keeps the newest, each result for itself', () => {
    const builds = [
      ...[build('s1', 1, 'Succeeded'), build('s3', 3, 'Succeeded'), build('s2', 2, 'Succeeded')],
      ...[build('f1', 1, 'Failed'), build('c2', 2, 'Cancelled'), build('f3', 3, 'Failed')],
      build('running', undefined, 'Succeeded'),
    ]
    const kept = (history: object) => gone(builds, { 'BuildTemplate/a/t': template(history) }).toSorted()
    expect(kept({ succeeded: 1, failed: 2 })).toEqual(['a/f1', 'a/s1', 'a/s2'])
    expect(kept({ failed: 0 })).toEqual(['a/c2', 'a/f1', 'a/f3'])
    expect(kept({ succeeded: 3 })).toEqual([])
    expect(kept({})).toEqual([])
  })

  it('is one for each namespace and each template', () => {
    const cluster = (name: string, end: number, namespace: string): Build => {
      const made = build(name, end, 'Succeeded', 't', namespace)
      return { ...made, spec: { template: { name: 't', kind: 'ClusterBuildTemplate' } } }
    }
    const builds = [
      ...[cluster('1', 1, 'a'), cluster('2', 2, 'a'), cluster('1', 1, 'b')],
      ...[build('other', 1, 'Succeeded', 'other'), build('own', 1, 'Succeeded')],
    ]
    expect(gone(builds, { 'ClusterBuildTemplate/t': template({ succeeded: 1 }) })).toEqual(['a/1'])
  })
})
