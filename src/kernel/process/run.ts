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
  /**
   * For a program that speaks to people: `read` sends standard error to ours, `talk` takes standard input from ours as well.
   * Errors then repeat nothing of its output.
   */
  readonly people?: 'read' | 'talk'
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
  const child = execa(file, [...args], {
    reject: false,
    stripFinalNewline: true,
    timeout: options.timeout ?? 60_000,
    forceKillAfterDelay: 5000,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.env === undefined ? {} : { env: options.env }),
    ...(options.input === undefined ? { stdin: 'ignore' as const } : { input: options.input }),
    ...(options.signal === undefined ? {} : { cancelSignal: options.signal }),
    ...(options.people === undefined ? {} : { stderr: 'inherit' as const }),
    ...(options.people === 'talk' ? { stdin: 'inherit' as const } : {}),
  })
  // What the program has started itself may hold the pipe, and with it this process, for longer than the program lives.
  const letGo = (): void => void child.stdout.destroy()
  if (options.people !== undefined) options.signal?.addEventListener('abort', letGo, { once: true })
  const result = await child
  options.signal?.removeEventListener('abort', letGo)
  const stdout = result.stdout
  const stderr = result.stderr ?? ''
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
  const tried = `${file} ${args[0] ?? ''} ${how}`
  if (options.people !== undefined) throw new InsituError('COMMAND_FAILED', tried)
  const last = (stderr || stdout).trim().split('\n').slice(-5).join('\n')
  throw new InsituError('COMMAND_FAILED', `${tried}: ${last}`)
}
