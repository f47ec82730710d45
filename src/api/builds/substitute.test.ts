import { describe, expect, it } from 'vitest'
import { misfits, substitute, valuesOf } from './substitute.ts'

const parameters = [{ name: 'IMAGE' }, { name: 'TAG', default: 'latest' }]

describe('arguments', () => {
  it('fit the parameters, or are named', () => {
    expect(misfits(parameters, [{ name: 'IMAGE', value: 'a' }])).toEqual({ unknown: [], missing: [] })
    expect(misfits(parameters, [{ name: 'IMGAE', value: 'a' }])).toEqual({ unknown: ['IMGAE'], missing: ['IMAGE'] })
  })

  it('beat defaults', () => {
    const of = (value?: string) => [
      ...valuesOf(parameters, [...(value === undefined ? [] : [{ name: 'TAG', value }])]).entries(),
    ]
    expect(of()).toEqual([['TAG', 'latest']])
    expect(of('v1')).toEqual([['TAG', 'v1']])
  })
})

describe('substitute', () => {
  const values = new Map([
    ['IMAGE', 'docker.io/a/b'],
    ['TAG', '${IMAGE}'],
    ['EMPTY', ''],
  ])

  it('replaces in every string, however deep, and in no key', () => {
    expect(
      substitute({ a: ['${IMAGE}:1', { '${IMAGE}': 'x-${IMAGE}-${EMPTY}' }], n: 1, b: true, u: null }, values),
    ).toEqual({ a: ['docker.io/a/b:1', { '${IMAGE}': 'x-docker.io/a/b-' }], n: 1, b: true, u: null })
  })

  it('does not look again at what an argument holds', () => {
    expect(substitute('${TAG}', values)).toBe('${IMAGE}')
  })

  it('leaves what is no parameter, for Dockerfiles and shells, and gives the text for $${NAME}', () => {
    expect(substitute('FROM ${BASE:-a} $IMAGE ${other} $${IMAGE} $${other}', values)).toBe(
      'FROM ${BASE:-a} $IMAGE ${other} ${IMAGE} $${other}',
    )
  })
})
