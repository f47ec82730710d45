import { randomBytes } from 'node:crypto'
import { mkdir, open } from 'node:fs/promises'
import { join } from 'node:path'
import type { Buildkitd } from '../../integration/fixtures/buildkitd.ts'
import { startClient } from '../../integration/fixtures/clients.ts'
import { type Door, openDelay } from './doors.ts'
import { transfer } from './load.ts'
import type { Notes } from './notes.ts'
import { inTurns } from './turns.ts'
import { processorOf } from './usage.ts'

/** Milliseconds that are added to a round trip between client and door. */
const roundTrips = [0, 20]

/** MiB of the transfers that warm a door up. */
const warmUp = 128

export interface TransferOptions {
  readonly daemon: Buildkitd
  readonly doors: readonly Door[]
  /** In memory: a disk would be measured with the doors. */
  readonly directory: string
  readonly runs: number
  /** MiB */
  readonly size: number
  readonly notes: Notes
}

interface Context {
  readonly directory: string
  readonly size: number
}

/** The client's directory to the daemon, each time under a new key, so that all of it travels. */
export async function uploads(options: TransferOptions): Promise<void> {
  const { daemon } = options
  await eachRun('upload', options, async (address, context) => {
    const seconds = await transfer(address, context.directory, randomKey(), false)
    return { seconds, after: () => startClient('buildctl', ['--addr', daemon.address, 'prune', '--all']).ended }
  })
}

/** What the daemon has already, back as a tar archive. */
export async function exports(options: TransferOptions): Promise<void> {
  const keys = new Map<Context, string>()
  await eachRun('export', options, async (address, context) => {
    const known = keys.get(context)
    const key = known ?? randomKey()
    if (known === undefined) {
      keys.set(context, key)
      await transfer(options.daemon.tcp ?? '', context.directory, key, false)
    }
    return { seconds: await transfer(address, context.directory, key, true), after: () => Promise.resolve() }
  })
}

type Transfer = (
  address: string,
  context: Context,
) => Promise<{ readonly seconds: number; readonly after: () => Promise<unknown> }>

/** Every door in turn, at each round-trip time. The first round is small, warms up, and is not counted. */
async function eachRun(what: string, options: TransferOptions, once: Transfer): Promise<void> {
  const { doors, directory, runs, size, notes } = options
  const [little, whole] = [await randomContext(directory, warmUp), await randomContext(directory, size)]
  for (const roundTrip of roundTrips) {
    const delayed = await delay(doors, roundTrip)
    const where = `${what} of ${size} MiB, ${roundTrip} ms`
    try {
      for (const { address } of delayed) await (await once(address, little)).after()
      await inTurns(delayed, runs, async (door) => {
        const before = processorOf(door)
        const { seconds, after } = await once(door.address, whole)
        const used = processorOf(door) - before
        notes.note(where, door.name, 'MiB/s', size / seconds)
        if (door.pid !== undefined) notes.note(`processor, ${where}`, door.name, 'ms/MiB', used / size)
        await after()
      })
    } finally {
      for (const door of delayed) await door.stop()
    }
  }
}

/** The doors at the far end of a long line. What `stop` ends is the line. */
async function delay(doors: readonly Door[], roundTrip: number): Promise<readonly Door[]> {
  const delayed: Door[] = []
  for (const door of doors) {
    const line = roundTrip === 0 ? undefined : await openDelay(door.address, roundTrip)
    delayed.push({ ...door, address: line?.address ?? door.address, stop: line?.stop ?? (() => Promise.resolve()) })
  }
  return delayed
}

const randomKey = (): string => randomBytes(8).toString('hex')

async function randomContext(parent: string, size: number): Promise<Context> {
  const directory = join(parent, `${size}`)
  await mkdir(directory, { recursive: true })
  const file = await open(join(directory, 'data'), 'w')
  const block = randomBytes(1 << 20)
  for (let n = 0; n < size; n++) await file.write(block)
  await file.close()
  return { directory, size }
}
