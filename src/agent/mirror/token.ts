import { randomBytes } from 'node:crypto'
import { writeFileAtomic } from '../../kernel/fs/atomic.ts'
import { readOptional } from '../../kernel/fs/read-optional.ts'

/** The secret between this node's containerd and the mirror: kept, so that pulls survive a restart of the agent. */
export async function mirrorToken(file: string): Promise<string> {
  const known = (await readOptional(file))?.trim()
  if (known !== undefined && /^[0-9a-f]{48}$/.test(known)) return known
  const token = randomBytes(24).toString('hex')
  await writeFileAtomic(file, `${token}\n`, 0o600)
  return token
}
