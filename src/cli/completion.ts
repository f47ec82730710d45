import { Argument, Command } from 'commander'

/** A command's name, one-line description, option flags, arguments and subcommands: all that a completion needs. */
export interface CommandShape {
  readonly name: string
  readonly description: string
  readonly options: readonly {
    readonly flag: string
    readonly description: string
    readonly choices: readonly string[]
  }[]
  /** Values that its arguments can have, where these are known. */
  readonly arguments: readonly string[]
  readonly commands: readonly CommandShape[]
}

/** Reads commander's tree. Hidden options and commands are left out by commander's own help. */
export function shapeOf(command: Command): CommandShape {
  const help = command.createHelp()
  return {
    name: command.name(),
    description: command.description().split('\n')[0] ?? '',
    options: help
      .visibleOptions(command)
      .flatMap((o) =>
        [o.long, o.short]
          .filter((flag) => flag !== undefined && flag !== null)
          .map((flag) => ({ flag, description: o.description.split('\n')[0] ?? '', choices: o.argChoices ?? [] })),
      ),
    arguments: command.registeredArguments.flatMap((argument) => argument.argChoices ?? []),
    commands: help.visibleCommands(command).map(shapeOf),
  }
}

/** One entry per command path (`''`, `lab`, `lab up`): the words that can follow it. */
function tableOf(shape: CommandShape, path = ''): { path: string; shape: CommandShape }[] {
  return [{ path, shape }, ...shape.commands.flatMap((c) => tableOf(c, path === '' ? c.name : `${path} ${c.name}`))]
}

const quote = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`

const walk = (program: string): string =>
  `  local path="" word i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="\${COMP_WORDS[i]}"
    case " $(_${program}_words "$path" commands) " in *" $word "*) path="\${path:+$path }$word" ;; esac
  done`

function bash(shape: CommandShape): string {
  const rows = tableOf(shape)
  const cases = rows.map(
    ({ path, shape: s }) =>
      `    ${quote(`${path}:commands`)}) echo ${quote(s.commands.map((c) => c.name).join(' '))} ;;\n` +
      `    ${quote(`${path}:arguments`)}) echo ${quote(s.arguments.join(' '))} ;;\n` +
      `    ${quote(`${path}:options`)}) echo ${quote(s.options.map((o) => o.flag).join(' '))} ;;`,
  )
  const choices = rows.flatMap(({ path, shape: s }) =>
    s.options
      .filter((o) => o.choices.length > 0)
      .map((o) => `    ${quote(`${path}:${o.flag}`)}) echo ${quote(o.choices.join(' '))} ;;`),
  )
  const n = shape.name
  return `# bash completion for ${n}; load with: source <(${n} completion bash)
_${n}_words() {
  case "$1:$2" in
${cases.join('\n')}
${choices.join('\n')}
  esac
}
_${n}() {
${walk(n)}
  local cur="\${COMP_WORDS[COMP_CWORD]}" prev="\${COMP_WORDS[COMP_CWORD - 1]}" words
  # bash takes the = of --option=value for a word.
  if [ "$cur" = "=" ]; then cur=""; elif [ "$prev" = "=" ]; then prev="\${COMP_WORDS[COMP_CWORD - 2]}"; fi
  words="$(_${n}_words "$path" "$prev")"
  if [ -z "$words" ]; then
    case "$cur" in
      -*) words="$(_${n}_words "$path" options)" ;;
      *) words="$(_${n}_words "$path" commands) $(_${n}_words "$path" arguments)" ;;
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o default -F _${n} ${n}
`
}

// zsh understands bash completions through bashcompinit, so one table serves both.
const zsh = (shape: CommandShape): string =>
  `#compdef ${shape.name}\n# zsh completion for ${shape.name}; load with: source <(${shape.name} completion zsh)\nautoload -U +X bashcompinit && bashcompinit\n${bash(shape)}`

function fish(shape: CommandShape): string {
  const n = shape.name
  const lines = tableOf(shape).flatMap(({ path, shape: s }) => {
    const condition = path === '' ? '__fish_use_subcommand' : `__fish_seen_subcommand_from ${path.split(' ').at(-1)}`
    return [
      ...s.commands.map((c) => `complete -c ${n} -f -n ${quote(condition)} -a ${c.name} -d ${quote(c.description)}`),
      ...(s.arguments.length > 0
        ? [`complete -c ${n} -f -n ${quote(condition)} -a ${quote(s.arguments.join(' '))}`]
        : []),
      ...s.options.map((o) => {
        const flag = o.flag.startsWith('--') ? `-l ${o.flag.slice(2)}` : `-s ${o.flag.slice(1)}`
        const values = o.choices.length > 0 ? ` -x -a ${quote(o.choices.join(' '))}` : ''
        return `complete -c ${n} -n ${quote(condition)} ${flag}${values} -d ${quote(o.description)}`
      }),
    ]
  })
  return `# fish completion for ${n}; load with: ${n} completion fish | source\n${lines.join('\n')}\n`
}

const shells = { bash, zsh, fish }

/** The completion script of a shell for a command tree. */
export const completionScript = (shell: keyof typeof shells, shape: CommandShape): string => shells[shell](shape)

export const completionCommand = (): Command => {
  const command = new Command('completion')
    .description('Print the shell completion script.')
    .addArgument(new Argument('<shell>', 'which shell').choices(Object.keys(shells)))
    .addHelpText('after', '\nExample: source <(insitu completion bash)')
  return command.action((shell: keyof typeof shells) => {
    let top: Command = command
    while (top.parent) top = top.parent
    process.stdout.write(completionScript(shell, shapeOf(top)))
  })
}
