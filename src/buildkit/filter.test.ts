import { expect, test } from 'vitest'
import { parseFilters } from './filter.ts'

const labels: Record<string, string> = { 'insitu.build/node': 'n1', plain: 'yes', empty: '' }
const field = ([first, ...rest]: readonly string[]): string | undefined =>
  first === 'id' ? 'n1' : first === 'labels' ? labels[rest.join('.')] : undefined

test.each([
  [[], true],
  [[''], true],
  [['id==n1'], true],
  [['id==n2'], false],
  [['id!=n2'], true],
  [['labels.plain'], true],
  [['labels.absent'], false],
  [['labels.absent!=x'], true],
  [['labels."insitu.build/node"==n1'], true],
  [['labels.`insitu.build/node`=="n1"'], true],
  [['labels."insitu.build/node"==n1,id==n2'], false],
  [['id==n2', 'labels.plain==yes'], true],
  [['id~=^n[0-9]+$'], true],
  [['id~=^m'], false],
  [['labels.empty'], true],
  [['other==n1'], false],
] as const)('%j is %s', (filters, expected) => {
  expect(parseFilters([...filters])(field)).toBe(expected)
})

test.each([['=='], ['id=='], ['id==n1,'], ['id n1'], ['1d==x'], ['id~=(a+)+$'], ['id~=a*a*a*b'], ['labels."open']])(
  '%s is refused with its place',
  (filter) => {
    expect(() => parseFilters([filter])).toThrow(/is not understood/)
  },
)
