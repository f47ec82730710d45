import { readFile } from 'node:fs/promises'
import { InsituError } from '../errors.ts'

/** The text of a file, or undefined when there is none. @throws InsituError FILE_UNREADABLE for every other reason. */
export async function readOptional(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new InsituError('FILE_UNREADABLE', `${file} cannot be read`, { cause: error })
  }
}
