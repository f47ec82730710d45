import { execa } from 'execa'
import { InsituError } from '../errors.ts'

export interface RunOptions {
  readonly cwd?: string
  /** Added to this process's environment. */
  readonly env?: Record<string, string>
  readonly input?: string | Uint8Array
  /** Milliseconds; the process gets SIGTERM, then SIGKILL five seconds later. Default 60,000. */
  readonly timeout?: number
  readonly signal?: AbortSignal
  /** Exit codes that are not an error. Default only 0. */
  readonly allow?: readonly number[]
}

export interface RunResult {
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

/**
 * Runs a program to its end. Arguments are an array and never go through a shell.
 * @throws InsituError COMMAND_FAILED with the program's last lines, COMMAND_MISSING when it is not on the PATH.
 */
export async function run(file: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const result = await execa(file, [...args], {
    reject: false,
    stripFinalNewline: true,
    timeout: options.timeout ?? 60_000,
    forceKillAfterDelay: 5000,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.env === undefined ? {} : { env: options.env }),
    ...(options.input === undefined ? { stdin: 'ignore' as const } : { input: options.input }),
    ...(options.signal === undefined ? {} : { cancelSignal: options.signal }),
  })
  const stdout = result.stdout
  const stderr = result.stderr
  if (result.exitCode === 0 || (result.exitCode !== undefined && options.allow?.includes(result.exitCode))) {
    return { exitCode: result.exitCode, stdout, stderr }
  }
  if (result.code === 'ENOENT') {
    throw new InsituError('COMMAND_MISSING', `${file} is not installed`, { cause: result })
  }
  const how = result.timedOut
    ? 'timed out'
    : result.signal
      ? `was killed by ${result.signal}`
      : `failed with exit code ${result.exitCode}`
  const last = (stderr || stdout).trim().split('\n').slice(-5).join('\n')
  throw new InsituError('COMMAND_FAILED', `${file} ${args[0] ?? ''} ${how}: ${last}`)
}
