import { access, constants } from 'node:fs/promises'
import { delimiter, join } from 'node:path'

/** The path of a program as execvp(3) would find it, or undefined. A name with a slash is a path already. */
export async function findProgram(name: string, path: string): Promise<string | undefined> {
  const candidates = name.includes('/') ? [name] : path.split(delimiter).map((directory) => join(directory, name))
  for (const candidate of candidates) {
    if (candidate === name || candidate.startsWith('/')) {
      if (await isExecutable(candidate)) return candidate
    }
  }
  return undefined
}

/** Whether this process may execute a file. */
export const isExecutable = (file: string): Promise<boolean> =>
  access(file, constants.X_OK).then(
    () => true,
    () => false,
  )
