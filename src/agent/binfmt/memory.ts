import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { writeFileAtomic } from '../../kernel/fs/atomic.ts'
import { readOptional } from '../../kernel/fs/read-optional.ts'
import { isOurs } from './names.ts'

/** In buildkitd's root: names of the handlers that the agent of this root may have registered, one per line. */
const file = (root: string): string => join(root, 'insitu-binfmt')

/** Adds names. */
export async function rememberHandlers(root: string, names: readonly string[]): Promise<void> {
  const known = await recallHandlers(root)
  const all = [...new Set([...known, ...names])].sort()
  if (all.length !== known.length) await writeFileAtomic(file(root), `${all.join('\n')}\n`, 0o600)
}

/** Only names of ours: what somebody else writes there cannot make us remove his handlers. */
export async function recallHandlers(root: string): Promise<string[]> {
  return ((await readOptional(file(root))) ?? '').split('\n').filter((name) => isOurs(name) && !name.includes('/'))
}

export const forgetHandlers = (root: string): Promise<void> => rm(file(root), { force: true })
