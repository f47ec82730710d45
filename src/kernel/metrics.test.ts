import { expect, test } from 'vitest'
import { createMetrics } from './metrics.ts'

test('counters, values that are asked for, and histograms with cumulative buckets', () => {
  const metrics = createMetrics()
  metrics.count('builds_total', 'Builds.', { outcome: 'ok' })
  metrics.count('builds_total', 'Builds.', { outcome: 'ok' })
  metrics.count('builds_total', 'Builds.', { outcome: 'a"b' })
  let running = 3
  metrics.gauge('running', 'Now.', () => running)
  metrics.observe('seconds', 'How long.', { outcome: 'ok' }, 0.2)
  metrics.observe('seconds', 'How long.', { outcome: 'ok' }, 9000)
  running = 4
  const text = metrics.render()
  expect(text).toContain('# TYPE builds_total counter\nbuilds_total{outcome="ok"} 2\nbuilds_total{outcome="a b"} 1\n')
  expect(text).toContain('# TYPE running gauge\nrunning 4\n')
  expect(text).toContain('seconds_bucket{outcome="ok",le="0.1"} 0\n')
  expect(text).toContain('seconds_bucket{outcome="ok",le="0.25"} 1\n')
  expect(text).toContain('seconds_bucket{outcome="ok",le="7200"} 1\n')
  expect(text).toContain('seconds_bucket{outcome="ok",le="+Inf"} 2\n')
  expect(text).toContain('seconds_sum{outcome="ok"} 9000.2\nseconds_count{outcome="ok"} 2\n')
})
