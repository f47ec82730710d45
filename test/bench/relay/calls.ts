import { setTimeout as sleep } from 'node:timers/promises'
import type { Door } from './doors.ts'
import { idleSessions, tinyBuilds, unaryCalls } from './load.ts'
import type { Notes } from './notes.ts'
import { inTurns } from './turns.ts'
import { processorOf, residentOf } from './usage.ts'

/** Seconds in which calls are counted. */
const seconds = 5

/** 500 calls a second on 64 connections; `direct`, the first door, is what the others are compared with. */
export async function shortCalls(doors: readonly Door[], runs: number, { note }: Notes): Promise<void> {
  const where = '500 calls/s on 64 connections'
  for (const door of doors) await callsOf(door)
  for (let round = 0; round < runs; round++) {
    const results = new Map<string, { p50: number; p99: number }>()
    await inTurns(doors, 1, async (door) => {
      const before = processorOf(door)
      const result = await callsOf(door)
      const used = processorOf(door) - before
      results.set(door.name, result)
      note(`${where}, p50`, door.name, 'ms', result.p50)
      note(`${where}, p99`, door.name, 'ms', result.p99)
      if (door.pid !== undefined) note(`processor, ${where}`, door.name, 'ms/call', used / result.calls)
    })
    const base = results.get(doors[0]!.name)!
    for (const door of doors.slice(1)) {
      const { p50, p99 } = results.get(door.name)!
      note(`${where}, p50 added`, door.name, 'ms', p50 - base.p50)
      note(`${where}, p99 added`, door.name, 'ms', p99 - base.p99)
    }
  }
}

async function callsOf(door: Door) {
  const result = await unaryCalls(door.address, seconds)
  if (result.failed > 0) throw new Error(`${door.name}: ${result.failed} calls failed: ${result.error}`)
  return result
}

/** Builds that do nothing, all at once, each on a connection of its own. */
export async function manyBuilds(doors: readonly Door[], runs: number, { note, progress }: Notes): Promise<void> {
  const count = 200
  await inTurns(doors, runs, async (door) => {
    const result = await tinyBuilds(door.address, count)
    if (result.failed > 0) progress(`${door.name}: ${result.failed} of ${count} builds failed: ${result.error}`)
    else note(`${count} tiny builds at once`, door.name, 's', result.seconds)
  })
}

/**
 * Resident memory that a thousand open sessions add, once for each door, before anything else has passed it: memory that
 * is free again would hide it.
 */
export async function idle(doors: readonly Door[], { note }: Notes): Promise<void> {
  const count = 1000
  const where = `${count} idle sessions, each`
  for (const door of doors) {
    if (door.pid === undefined) continue
    const gateway = { pid: door.pid }
    const before = [residentOf(door), residentOf(gateway)] as const
    const sessions = await idleSessions(door.address, count)
    // The daemon asks each session for its health every 5 s.
    await sleep(12_000)
    const each = (after: number, first: number): number => (after - first) / 1024 / count
    note(where, door.name, 'KiB', each(residentOf(door), before[0]))
    if (door.also !== undefined) note(where, `${door.name}, the gateway`, 'KiB', each(residentOf(gateway), before[1]))
    await sessions.close()
  }
}
