import { expect, test } from 'vitest'
import { freshnessMetrics } from './metrics.ts'

test('a line for each resource, also for one that was never heard of', () => {
  const text = freshnessMetrics([
    { resource: 'pods', age: 1500, reconnects: 2, relists: 1 },
    { resource: 'nodes', age: Infinity, reconnects: 0, relists: 0 },
  ])
  expect(text.split('\n').filter((line) => !line.startsWith('#'))).toEqual([
    'insitu_view_age_seconds{resource="pods"} 1.5',
    'insitu_view_age_seconds{resource="nodes"} +Inf',
    'insitu_watch_reconnects_total{resource="pods"} 2',
    'insitu_watch_reconnects_total{resource="nodes"} 0',
    'insitu_watch_relists_total{resource="pods"} 1',
    'insitu_watch_relists_total{resource="nodes"} 0',
    '',
  ])
  expect(text).toContain('# TYPE insitu_view_age_seconds gauge\n')
})
