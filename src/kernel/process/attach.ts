import { constants } from 'node:os'
import { execa } from 'execa'
import { InsituError } from '../errors.ts'

export interface AttachOptions {
  /** Added to the environment of this process. */
  readonly env: Readonly<Record<string, string>>
  /** Ends the program with SIGTERM. */
  readonly signal?: AbortSignal | undefined
}

/**
 * Runs a program with our own input and outputs until it ends.
 * @returns its exit code; 128 and the number of the signal that ended it, as shells do.
 * @throws InsituError COMMAND_MISSING when it cannot be started.
 */
export async function attach(file: string, args: readonly string[], options: AttachOptions): Promise<number> {
  const child = execa(file, [...args], { stdio: 'inherit', reject: false, env: { ...options.env } })
  const stop = (): void => void child.kill('SIGTERM')
  options.signal?.addEventListener('abort', stop, { once: true })
  try {
    const result = await child
    if (result.exitCode !== undefined) return result.exitCode
    if (result.signal !== undefined) return 128 + constants.signals[result.signal]
    throw new InsituError('COMMAND_MISSING', `the program ${file} cannot be started`, {
      fix: `install ${file} and put it on the PATH`,
      cause: result,
    })
  } finally {
    options.signal?.removeEventListener('abort', stop)
  }
}
