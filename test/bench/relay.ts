import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type Buildkitd, startBuildkitd } from '../integration/fixtures/buildkitd.ts'
import type { BenchOptions } from './benches.ts'
import { idle, manyBuilds, shortCalls } from './relay/calls.ts'
import { type Door, openHaproxy, openInsitu, openNginx } from './relay/doors.ts'
import { takeNotes } from './relay/notes.ts'
import { openThroughAgent } from './relay/through-agent.ts'
import { exports, uploads } from './relay/transfers.ts'
import { type Report, summarize } from './report.ts'

const direct = 'direct'
const reference = 'insitu'

/** A file system in memory: what a disk does from time to time would be measured with the doors. */
const memory = '/dev/shm'

/**
 * The relay beside no door at all, nginx (`grpc_pass`) and haproxy, all in front of one real buildkitd, in turns: idle
 * sessions, short calls, many builds at once, uploads and exports at two round-trip times, processor time.
 */
export async function benchRelay({ runs, progress, size, only }: BenchOptions): Promise<Report> {
  const wanted = (name: string): boolean => only.length === 0 || only.includes(name)
  const directory = await mkdtemp(join(memory, 'insitu-bench-'))
  const notes = takeNotes(progress)
  const doors: Door[] = []
  let daemon: Buildkitd | undefined
  try {
    progress('a daemon and the doors in front of it')
    daemon = await startBuildkitd({ tcp: true, parent: directory })
    doors.push({ name: direct, address: daemon.tcp ?? '', pid: undefined, stop: () => Promise.resolve() })
    for (const open of [openInsitu, openThroughAgent, openNginx, openHaproxy]) doors.push(await open(daemon))
    if (wanted('idle')) await idle(doors, notes)
    if (wanted('unary')) await shortCalls(doors, runs, notes)
    if (wanted('builds')) await manyBuilds(doors, runs, notes)
    const options = { daemon, doors, directory, runs, size, notes }
    if (wanted('upload')) await uploads(options)
    if (wanted('export')) await exports(options)
  } finally {
    for (const door of doors) await door.stop()
    await daemon?.stop()
    await rm(directory, { recursive: true, force: true })
  }
  const measurements = notes.measurements()
  const base = (where: string): string =>
    measurements.some((m) => m.case === where && m.subject === direct) ? direct : reference
  return summarize('relay', base, measurements)
}
