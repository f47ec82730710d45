import { randomBytes } from 'node:crypto'
import { mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Buildkitd, startBuildkitd } from '../integration/fixtures/buildkitd.ts'
import { startClient } from '../integration/fixtures/clients.ts'
import type { BenchOptions } from './benches.ts'
import { type Door, openDelay, openHaproxy, openInsitu, openNginx } from './relay/doors.ts'
import { idleSessions, tinyBuilds, transfer, unaryCalls } from './relay/load.ts'
import { openThroughAgent } from './relay/through-agent.ts'
import { usageOf } from './relay/usage.ts'
import { type Measurement, type Report, summarize } from './report.ts'

const direct = 'direct'
const reference = 'insitu'

/** Milliseconds that are added to a round trip between client and door. */
const roundTrips = [0, 20]

/** Values by case and subject, in the order in which they were first seen. */
type Values = Map<string, Map<string, { unit: string; values: number[] }>>

/**
 * The relay beside no door at all, nginx (`grpc_pass`) and haproxy, all in front of one real buildkitd, in turns:
 * uploads and exports at two round-trip times, processor time, short calls, idle sessions, many builds at once.
 */
export async function benchRelay({ runs, progress, size, only }: BenchOptions): Promise<Report> {
  const wanted = (name: string): boolean => only.length === 0 || only.includes(name)
  const directory = await mkdtemp(join(tmpdir(), 'insitu-bench-'))
  const values: Values = new Map()
  const note = (where: string, subject: string, unit: string, value: number): void => {
    const subjects = values.get(where) ?? new Map<string, { unit: string; values: number[] }>()
    values.set(where, subjects)
    const row = subjects.get(subject) ?? { unit, values: [] }
    subjects.set(subject, row)
    row.values.push(value)
    progress(`${where}: ${subject} ${value.toFixed(2)} ${unit}`)
  }
  const doors: Door[] = []
  let daemon: Buildkitd | undefined
  try {
    progress('a daemon and the doors in front of it')
    daemon = await startBuildkitd({ tcp: true })
    doors.push({ name: direct, address: daemon.tcp ?? '', pid: undefined, stop: () => Promise.resolve() })
    for (const open of [openInsitu, openThroughAgent, openNginx, openHaproxy]) doors.push(await open(daemon))
    const context = await randomFile(directory, size)
    if (wanted('upload')) await uploads(daemon, doors, context, { runs, size, note })
    if (wanted('export')) await exports(daemon, doors, context, { runs, size, note })
    if (wanted('unary')) {
      for (let round = 0; round < runs; round++) {
        for (const door of doors) {
          const result = await unaryCalls(door.address, 5)
          if (result.failed > 0) throw new Error(`${door.name}: ${result.failed} calls failed: ${result.error}`)
          note('500 calls/s on 64 connections, p50', door.name, 'ms', result.p50)
          note('500 calls/s on 64 connections, p99', door.name, 'ms', result.p99)
        }
      }
    }
    if (wanted('builds')) {
      for (let round = 0; round < runs; round++) {
        for (const door of doors) {
          const result = await tinyBuilds(door.address, 200)
          if (result.failed > 0) progress(`${door.name}: ${result.failed} of 200 builds failed: ${result.error}`)
          else note('200 tiny builds at once', door.name, 's', result.seconds)
        }
      }
    }
    if (wanted('idle')) await idle(doors, note)
  } finally {
    for (const door of doors) await door.stop()
    await daemon?.stop()
    await rm(directory, { recursive: true, force: true })
  }
  const measurements: Measurement[] = []
  for (const [where, subjects] of values) {
    for (const [subject, { unit, values: found }] of subjects)
      measurements.push({ case: where, subject, unit, values: found })
  }
  const base = (where: string): string => (values.get(where)?.has(direct) === true ? direct : reference)
  return summarize('relay', base, measurements)
}

interface TransferOptions {
  readonly runs: number
  /** MiB */
  readonly size: number
  readonly note: (where: string, subject: string, unit: string, value: number) => void
}

/** The client's directory to the daemon, each time under a new key, so that all of it travels. */
async function uploads(
  daemon: Buildkitd,
  doors: readonly Door[],
  context: string,
  options: TransferOptions,
): Promise<void> {
  await eachRun(doors, options, async (door, where, counted) => {
    const key = randomBytes(8).toString('hex')
    await measure(door, `upload of ${options.size} MiB, ${where}`, counted, options, (to) =>
      transfer(to, context, key, false),
    )
    await startClient('buildctl', ['--addr', daemon.address, 'prune', '--all']).ended
  })
}

/** What the daemon has already, back as a tar archive. */
async function exports(
  daemon: Buildkitd,
  doors: readonly Door[],
  context: string,
  options: TransferOptions,
): Promise<void> {
  const key = randomBytes(8).toString('hex')
  await transfer(daemon.tcp ?? '', context, key, false)
  await eachRun(doors, options, (door, where, counted) =>
    measure(door, `export of ${options.size} MiB, ${where}`, counted, options, (from) =>
      transfer(from, context, key, true),
    ),
  )
}

type Timed = (address: string) => Promise<number>

async function measure(
  door: Door & { readonly through: string },
  where: string,
  counted: boolean,
  { size, note }: TransferOptions,
  timed: Timed,
): Promise<void> {
  const before = usageOfDoor(door)
  const seconds = await timed(door.through)
  if (!counted) return
  note(where, door.name, 'MiB/s', size / seconds)
  const after = usageOfDoor(door)
  if (before && after) note(`processor, ${where}`, door.name, 'ms/MiB', (after.cpu - before.cpu) / size)
}

function usageOfDoor({ pid, also }: Door): { cpu: number } | undefined {
  const pids = [pid, also].filter((one) => one !== undefined)
  return pids.length === 0 ? undefined : { cpu: pids.reduce((sum, one) => sum + usageOf(one).cpu, 0) }
}

/** Every door in turn, at each round-trip time. The first round of each warms up and is not counted. */
async function eachRun(
  doors: readonly Door[],
  { runs }: TransferOptions,
  once: (door: Door & { readonly through: string }, where: string, counted: boolean) => Promise<void>,
): Promise<void> {
  for (const roundTrip of roundTrips) {
    for (let round = 0; round <= runs; round++) {
      for (const door of doors) {
        const delay = roundTrip === 0 ? undefined : await openDelay(door.address, roundTrip)
        try {
          await once({ ...door, through: delay?.address ?? door.address }, `${roundTrip} ms`, round > 0)
        } finally {
          await delay?.stop()
        }
      }
    }
  }
}

/** Resident memory that a thousand open sessions add, once for each door: it does not vary. */
async function idle(doors: readonly Door[], note: TransferOptions['note']): Promise<void> {
  const count = 1000
  for (const door of doors) {
    if (door.pid === undefined) continue
    const before = usageOf(door.pid)
    const sessions = await idleSessions(door.address, count)
    // The daemon asks each session for its health every 5 s.
    await sleep(12_000)
    const after = usageOf(door.pid)
    await sessions.close()
    note(`${count} idle sessions, each`, door.name, 'KiB', (after.resident - before.resident) / 1024 / count)
  }
}

async function randomFile(directory: string, megabytes: number): Promise<string> {
  const file = await open(join(directory, 'data'), 'w')
  const block = randomBytes(1 << 20)
  for (let n = 0; n < megabytes; n++) await file.write(block)
  await file.close()
  return directory
}
