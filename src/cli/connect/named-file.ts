import { accessSync, constants, statSync } from 'node:fs'
import { UsageError } from '../../kernel/errors.ts'

/** Looks at the file of an option before anything depends on it, and does not read it: a pipe can be read only once. @throws UsageError */
export function checkNamedFile(option: string, file: string): void {
  const found = statSync(file, { throwIfNoEntry: false })
  if (!found) throw new UsageError(`${option} ${file} is not there`)
  if (found.isDirectory()) throw new UsageError(`${option} ${file} is a directory`)
  try {
    accessSync(file, constants.R_OK)
  } catch (cause) {
    throw new UsageError(`${option} ${file} cannot be read`, { cause })
  }
}
