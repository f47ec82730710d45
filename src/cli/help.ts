import { Command } from 'commander'

/** `insitu help COMMAND`. Commander's own shows the help of the program for a command that does not exist. */
export const helpCommand = (): Command => {
  const command = new Command('help')
    .description('display help for command')
    .argument('[command...]', 'e.g. policy check')
  return command.action((names: readonly string[]) => {
    let shown = command.parent as Command
    for (const name of names) {
      const next = shown.commands.find((one) => one.name() === name)
      if (!next) return shown.error(`error: unknown command '${name}'`, { code: 'commander.unknownCommand' })
      shown = next
    }
    shown.outputHelp()
  })
}
