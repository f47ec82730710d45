import type { BenchOptions } from '../benches.ts'
import { type Measurement, type Report, summarize } from '../report.ts'
import { measureCompression } from './compress.ts'
import { measurePeer } from './from-peer.ts'
import { measureOnLab } from './on-lab.ts'
import { measurePulls, without, withMirror } from './pulls.ts'
import { bareServer, measureRefusals } from './refusals.ts'
import { openSetting } from './setting.ts'

/**
 * `pull`: ordinary pulls from a registry, with and without the mirror; `404`: names that nobody has; `peer`: a big image
 * from another agent; `compress`: what compression on the way costs. Gateways answer from the process of the mirror.
 * `lab`, when it is asked for: pulls and refusals with the agents and gateways of the lab.
 */
export async function benchMirror({ only, ...options }: BenchOptions): Promise<Report> {
  const wants = (part: string): boolean => only.length === 0 || only.includes(part)
  if (only.includes('lab')) return summarize('mirror', referenceOf, await measureOnLab(options))
  const measurements: Measurement[] = []
  const setting = await openSetting()
  try {
    if (wants('pull')) measurements.push(...(await measurePulls(setting, options)))
    if (wants('404')) measurements.push(...(await measureRefusals(setting)))
    if (wants('peer')) measurements.push(...(await measurePeer(setting, options)))
  } finally {
    await setting.close()
  }
  if (wants('compress')) measurements.push(...(await measureCompression(options.runs)))
  return summarize('mirror', referenceOf, measurements)
}

function referenceOf(name: string): string {
  if (name.includes('adds')) return withMirror
  if (name.startsWith('pull')) return without
  if (name.startsWith('404')) return name.includes('lab') ? 'mirror' : bareServer
  return name.includes('compress') ? 'zstd' : 'mirror'
}
