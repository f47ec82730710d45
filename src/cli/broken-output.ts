import { describeError } from '../kernel/errors.ts'

/** What a shell reports of a program that SIGPIPE has ended, as kubectl and docker are: 128 + 13. */
const afterBrokenPipe = 141

/**
 * Ends the program when nobody takes its output any more. Node ignores SIGPIPE, and would end with a stack trace instead.
 *
 * - The reader has gone (`insitu … | head -1`): quietly, with exit code 141.
 * - It cannot be written for another reason (the disk is full): with one line and exit code 1.
 *
 * A program that has something to put back (it listens to SIGTERM) gets that signal, and ends in its own time. What is
 * lost of standard error never ends such a program, and never hides how a command has ended.
 */
export function endWhenOutputBreaks(): void {
  let ending = false
  const end = (code: number): void => {
    if (ending) return
    ending = true
    process.exitCode = code
    if (process.listenerCount('SIGTERM') > 0) process.kill(process.pid, 'SIGTERM')
    else process.exit(code)
  }
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') return end(afterBrokenPipe)
    if (!ending) process.stderr.write(`insitu: standard output cannot be written: ${describeError(error)}\n`)
    end(1)
  })
  process.stderr.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE' && process.listenerCount('SIGTERM') === 0) end(afterBrokenPipe)
  })
}
