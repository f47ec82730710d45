import type { Command, Option } from 'commander'

/** The words after `insitu` for each time that it stands where a command stands, up to the end of that command. */
export function commandLines(text: string): string[][] {
  return [...text.matchAll(/(?:^|[$#|;:] *|&& *|-- |[$<]\(|`)(?:bin\/)?insitu ([a-z-].*)/g)].map(([, rest = '']) =>
    words(rest),
  )
}

function words(text: string): string[] {
  const found: string[] = []
  for (const [word] of text.matchAll(/(?:"[^"]*"|'[^']*'|[^\s"'])+/g)) {
    if (/^[|&;>#`]/.test(word)) break
    found.push(word.replace(/[)`;,."]+$/, ''))
    if (/[)`;]/.test(word)) break
  }
  return found
}

/** What words for something that the reader puts in look like: NAME, FILE, …, $NAME. */
const isPlaceholder = (word: string): boolean => /^[A-Z_.]+$|…|^\$/.test(word)

/** What is wrong with a command line by the definitions of commander; nothing is run. */
export function complaints(program: Command, line: readonly string[]): string[] {
  const wrong: string[] = []
  let command = program
  let given = 0
  for (let i = 0; i < line.length; i++) {
    const word = line[i] ?? ''
    if (word === '--') break
    if (word === '…' || word === '') continue
    if (word.startsWith('-') && word !== '-') {
      const [flag = '', attached] = word.split(/=(.*)/)
      const option = optionsOf(command).find((o) => o.long === flag || o.short === flag)
      if (!option) wrong.push(`${command.name()} has no option ${flag}`)
      else if (option.required) {
        // In a sentence an option is also named without its value.
        const value = attached ?? line[++i]
        if (value !== undefined && !allows(option.argChoices, value)) wrong.push(`${flag} does not take ${value}`)
      }
      continue
    }
    const next = command.commands.find((c) => c.name() === word || c.aliases().includes(word))
    if (given === 0 && next) {
      command = next
      continue
    }
    const argument = command.registeredArguments[given] ?? command.registeredArguments.at(-1)
    if (!argument || (given >= command.registeredArguments.length && !argument.variadic)) {
      return [...wrong, `${command.name()} takes no ${word}`]
    }
    if (!allows(argument.argChoices, word)) wrong.push(`${command.name()} does not take ${word}`)
    given++
  }
  return wrong
}

const optionsOf = (command: Command): Option[] => command.createHelp().visibleOptions(command)

const allows = (choices: readonly string[] | undefined, value: string): boolean =>
  choices === undefined || choices.includes(value) || isPlaceholder(value)
