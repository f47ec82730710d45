import { Command, CommanderError } from 'commander'

/** `insitu run-build`: the program of a Build's pod. */
export const runBuildCommand = (): Command =>
  new Command('run-build')
    .description('Run the build of this pod (made by the controller for a Build).')
    .action(async () => {
      const { runBuild } = await import('./run-build/run.ts')
      const code = await runBuild()
      if (code !== 0) throw new CommanderError(code, 'insitu.command', '')
    })
