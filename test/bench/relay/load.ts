import { run } from '../../../src/kernel/process/run.ts'
import { tool } from '../../integration/fixtures/paths.ts'
import { until } from '../../integration/fixtures/until.ts'
import { start } from './doors.ts'

export interface UnaryResult {
  readonly calls: number
  readonly failed: number
  readonly error?: string
  /** Milliseconds. */
  readonly p50: number
  readonly p99: number
}

async function load<T>(args: readonly string[]): Promise<T> {
  const { stdout } = await run(tool('load'), args, { timeout: 900_000 })
  return JSON.parse(stdout) as T
}

/** Sends a directory to the daemon, or has it sent back. @returns seconds. */
export async function transfer(address: string, directory: string, key: string, back: boolean): Promise<number> {
  const args = ['transfer', '-addr', `tcp://${address}`, '-dir', directory, '-key', key, ...(back ? ['-export'] : [])]
  return (await load<{ seconds: number }>(args)).seconds
}

/** Calls at a fixed rate over several connections. */
export const unaryCalls = (address: string, seconds: number): Promise<UnaryResult> =>
  load(['unary', '-addr', address, '-duration', `${seconds}s`, '-rate', '500', '-connections', '64'])

/** So many tiny builds at once. */
export const tinyBuilds = (
  address: string,
  count: number,
): Promise<{ seconds: number; failed: number; error?: string }> =>
  load(['builds', '-addr', `tcp://${address}`, '-builds', String(count)])

/** Opens idle client sessions and keeps them until `close`. */
export async function idleSessions(address: string, count: number): Promise<{ close: () => Promise<void> }> {
  const { child, output, stop } = start(tool('load'), ['idle', '-addr', `tcp://${address}`, '-sessions', String(count)])
  await until(`${count} sessions to be open`, () => {
    if (child.exitCode !== null) throw new Error(`load ended: ${output()}`)
    return output().includes(`{"open":${count}}`)
  })
  return { close: stop }
}
