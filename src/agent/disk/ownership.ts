import { join } from 'node:path'
import { writeFileAtomic } from '../../kernel/fs/atomic.ts'
import { readOptional } from '../../kernel/fs/read-optional.ts'

/** In buildkitd's root: since when its daemons are ours. */
export const sinceFile = 'insitu-since'

/**
 * BuildKit's leases do not say whose they are. Those that were made after we took this root and its lock are ours;
 * older ones may belong to a buildkitd of somebody else's that is stopped at the moment, and are left alone.
 * @returns milliseconds since 1970; the first call on a root writes it down.
 */
export async function ownedSince(root: string, now: number): Promise<number> {
  const path = join(root, sinceFile)
  const since = Date.parse(((await readOptional(path)) ?? '').trim())
  if (Number.isFinite(since)) return since
  await writeFileAtomic(path, `${new Date(now).toISOString()}\n`)
  return now
}
