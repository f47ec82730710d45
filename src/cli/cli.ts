import { Command, CommanderError } from 'commander'
import { describeError, exitCode, InsituError } from '../kernel/errors.ts'
import { commands } from './commands.ts'
import { helpCommand } from './help.ts'
import { version } from './version.ts'

/**
 * Runs one command line. Every command registers itself in `commands.ts` and loads its role only when it is run, so
 * that an agent does not pay for the gateway's memory.
 * @returns the process exit code: 0, 1 for a failure, 2 for a wrong command line. Output that breaks: broken-output.ts.
 */
export async function runCli(argv: readonly string[]): Promise<number> {
  try {
    await createProgram().parseAsync([...argv], { from: 'user' })
    return 0
  } catch (error) {
    if (error instanceof CommanderError && error.code === 'insitu.command') return error.exitCode
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
    process.stderr.write(`insitu: ${describeError(error)}\n`)
    if (error instanceof InsituError && error.fix) process.stderr.write(`  fix: ${error.fix}\n`)
    return exitCode(error)
  }
}

/** The tree of commands with their options, as help and completion show them. */
export function createProgram(): Command {
  const program = new Command('insitu')
    .description('Builds container images in place: inside the containerd of the Kubernetes node that will run them.')
    .version(version())
    .exitOverride()
    .showHelpAfterError('(run with --help for the options)')
    .showSuggestionAfterError()
  for (const command of commands) program.addCommand(inherit(command(), program))
  return program.helpCommand(false).addCommand(inherit(helpCommand(), program))
}

/** Commander hands settings down only to commands that it makes itself: a sub-command would end the process with 1. */
function inherit(command: Command, parent: Command): Command {
  command.copyInheritedSettings(parent)
  for (const child of command.commands) inherit(child, command)
  return command
}
