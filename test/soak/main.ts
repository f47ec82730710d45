import { spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { randomBytes } from 'node:crypto'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { median } from '../bench/report.ts'
import { openInsitu } from '../bench/relay/doors.ts'
import { idleSessions, tinyBuilds, transfer, unaryCalls } from '../bench/relay/load.ts'
import { usageOf } from '../bench/relay/usage.ts'
import { startBuildkitd } from '../integration/fixtures/buildkitd.ts'
import { startClient } from '../integration/fixtures/clients.ts'
import { tool } from '../integration/fixtures/paths.ts'

// npm run -s soak -- relay [--minutes N] [--size MIB]: traffic of every kind, again and again, and the gateway's
// resident memory after each round. It must not grow: exit code 1 when the last third is above the one before it.

/** MiB, and a share, by which the medians of two thirds may differ: an allocator is no clockwork. */
const tolerance = { megabytes: 8, share: 0.05 }

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { minutes: { type: 'string', default: '30' }, size: { type: 'string', default: '64' } },
})
if (positionals.join(' ') !== 'relay') {
  console.error('usage: npm run -s soak -- relay [--minutes N] [--size MIB]')
  process.exit(2)
}
const started = Date.now()
const end = started + Number(values.minutes) * 60_000
const size = Number(values.size)
const directory = await mkdtemp(join(tmpdir(), 'insitu-soak-'))
await writeFile(join(directory, 'data'), randomBytes(size << 20))
const daemon = await startBuildkitd()
const door = await openInsitu(daemon)
const resident: number[] = []
let relayed = 0
try {
  while (Date.now() < end) {
    await tinyBuilds(door.address, 20)
    const key = randomBytes(8).toString('hex')
    await transfer(door.address, directory, key, false)
    await transfer(door.address, directory, key, true)
    await givenUp(door.address)
    await unaryCalls(door.address, 1)
    const sessions = await idleSessions(door.address, 100)
    await sessions.close()
    await startClient('buildctl', ['--addr', daemon.address, 'prune', '--all']).ended
    relayed += 2 * size
    resident.push(usageOf(door.pid ?? 0).resident / 2 ** 20)
    const minutes = ((Date.now() - started) / 60_000).toFixed(1)
    console.error(`[${minutes.padStart(5)} min] round ${resident.length}: ${resident.at(-1)!.toFixed(1)} MiB resident`)
  }
} finally {
  await door.stop()
  await daemon.stop()
  await rm(directory, { recursive: true, force: true })
}
const third = Math.floor(resident.length / 3)
if (third === 0) {
  console.error('too short to say anything: fewer than three rounds')
  process.exitCode = 2
} else {
  const [before, after] = [median(resident.slice(third, 2 * third)), median(resident.slice(-third))]
  const grown = after - before > Math.max(tolerance.megabytes, before * tolerance.share)
  console.log(
    `${resident.length} rounds, ${relayed} MiB relayed: ${resident[0]!.toFixed(1)} MiB after the first round, ` +
      `${before.toFixed(1)} in the second third, ${after.toFixed(1)} in the last: ${grown ? 'GROWS' : 'does not grow'}`,
  )
  process.exitCode = grown ? 1 : 0
}

/** Clients that are killed in the middle of an upload. */
async function givenUp(address: string): Promise<void> {
  for (let n = 0; n < 3; n++) {
    const args = ['transfer', '-addr', `tcp://${address}`, '-dir', directory, '-key', randomBytes(8).toString('hex')]
    const child = spawn(tool('load'), args, { stdio: 'ignore' })
    const gone = new Promise((resolve) => child.once('close', resolve))
    await new Promise((resolve) => setTimeout(resolve, 50 + n * 100))
    child.kill('SIGKILL')
    await gone
  }
}
