import { Command, CommanderError, Option } from 'commander'
import type { RunBuildOptions } from './run-build/run.ts'

/** `insitu run-build`: the program of a Build's pod. The options say where things are elsewhere than in such a pod. */
export const runBuildCommand = (): Command => {
  const hidden = (flags: string): Option => new Option(flags).hideHelp()
  return new Command('run-build')
    .description('Run the build of this pod (made by the controller for a Build).')
    .addOption(hidden('--work <file>'))
    .addOption(hidden('--token-file <file>'))
    .addOption(hidden('--outcome <file>'))
    .addOption(hidden('--directory <path>'))
    .addOption(hidden('--registries <path>'))
    .addOption(hidden('--secrets <path>'))
    .addOption(hidden('--workspace <path>'))
    .action(async (flags: Partial<RunBuildOptions>) => {
      const { defaultRunBuild, runBuild } = await import('./run-build/run.ts')
      const code = await runBuild({ ...defaultRunBuild, ...flags })
      if (code !== 0) throw new CommanderError(code, 'insitu.command', '')
    })
}
