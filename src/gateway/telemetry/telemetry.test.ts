import { expect, test } from 'vitest'
import { createLogger } from '../../kernel/log.ts'
import type { BuildRecord } from './build-record.ts'
import { createTelemetry } from './telemetry.ts'

const at = (seconds: number): Date => new Date(1_000_000 + seconds * 1000)

const record: BuildRecord = {
  ...{ ref: 'r', caller: 'person ada', client: undefined, node: 'n1', rule: 'anywhere', reason: undefined },
  ...{ targets: ['n1'], images: [], platforms: [], exporters: [], trace: undefined },
  ...{ started: at(0), placed: at(1), begun: at(4), ended: at(10), outcome: { outcome: 'ok' } },
}

/** What /metrics has under one name. */
const samples = (text: string, name: string): string[] =>
  text.split('\n').filter((line) => line.startsWith(name) && !line.includes('_bucket'))

test('how long a build waited and how long it took, by outcome; one that never began waited for nothing', () => {
  const telemetry = createTelemetry({
    ...{ logger: createLogger({ level: 'silent' }), running: () => 0, clients: () => 0 },
  })
  telemetry.buildEnded(record)
  telemetry.buildEnded({
    ...record,
    placed: undefined,
    begun: undefined,
    rule: undefined,
    outcome: { outcome: 'refused' },
  })
  const text = telemetry.render()
  expect(samples(text, 'insitu_build_wait_seconds')).toEqual([
    'insitu_build_wait_seconds_sum{outcome="ok"} 3',
    'insitu_build_wait_seconds_count{outcome="ok"} 1',
  ])
  expect(samples(text, 'insitu_build_duration_seconds')).toEqual([
    'insitu_build_duration_seconds_sum{outcome="ok"} 10',
    'insitu_build_duration_seconds_count{outcome="ok"} 1',
    'insitu_build_duration_seconds_sum{outcome="refused"} 10',
    'insitu_build_duration_seconds_count{outcome="refused"} 1',
  ])
})

test('builds, clients and daemons of this moment', () => {
  let now = { running: 2, clients: 5 }
  const telemetry = createTelemetry({
    ...{ logger: createLogger({ level: 'silent' }), running: () => now.running, clients: () => now.clients },
  })
  const close = telemetry.opened({ bytesRead: 7 })
  const gauges = ['insitu_builds_running', 'insitu_client_connections', 'insitu_daemon_connections']
  const shown = (): string[] => gauges.flatMap((name) => samples(telemetry.render(), name))
  expect(shown()).toEqual(['insitu_builds_running 2', 'insitu_client_connections 5', 'insitu_daemon_connections 1'])
  now = { running: 0, clients: 1 }
  close()
  expect(shown()).toEqual(['insitu_builds_running 0', 'insitu_client_connections 1', 'insitu_daemon_connections 0'])
  expect(telemetry.render()).toContain('insitu_relay_bytes_total{direction="from_daemon"} 7\n')
})
