import { expect, test } from 'vitest'
import { imageMetrics } from './metrics.ts'

test('every number is under its own name', () => {
  const text = imageMetrics({
    ...{ delivered: 1, failed: 2, bytes: 3, running: 4, held: 5, building: 6, pending: 7 },
    ...{ names: 8, copies: 9, nodes: 10 },
  })
  expect(text.split('\n').filter((line) => !line.startsWith('#'))).toEqual([
    'insitu_deliveries_total{outcome="delivered"} 1',
    'insitu_deliveries_total{outcome="failed"} 2',
    'insitu_delivered_bytes_total 3',
    'insitu_deliveries_running 4',
    'insitu_lookups_held 5',
    'insitu_names_building 6',
    'insitu_image_names 8',
    'insitu_image_copies 9',
    'insitu_inventories{state="known"} 10',
    'insitu_inventories{state="pending"} 7',
    '',
  ])
  expect(text).toContain('# TYPE insitu_deliveries_total counter\n')
})
