import { mkdir, stat } from 'node:fs/promises'
import { InsituError } from '../../kernel/errors.ts'

/**
 * Makes the directory for keys and sockets, for nobody else. One that is there stays as it is: it may serve others too.
 * @throws InsituError SHARED_DIRECTORY for one that others may write, who could put their own files and sockets there.
 */
export async function claimDirectory(path: string): Promise<void> {
  const made = await mkdir(path, { recursive: true, mode: 0o700 })
  if (made !== undefined) return
  const { mode } = await stat(path)
  if ((mode & 0o022) === 0) return
  throw new InsituError('SHARED_DIRECTORY', `others may write to ${path}, and keys are no business of theirs`, {
    status: 'FAILED_PRECONDITION',
    fix: `name another directory with --directory, as in --directory ${path}/insitu, or chmod go-w ${path}`,
  })
}
