import { execFileSync } from 'node:child_process'
import { Command, Option } from 'commander'
import { describe, expect, it } from 'vitest'
import { createProgram } from './cli.ts'
import { completionScript, shapeOf } from './completion.ts'

const program = new Command('insitu')
program.addCommand(
  new Command('install')
    .description("install on the node's cluster")
    .addOption(new Option('--output <format>', 'format').choices(['text', 'json'])),
)
program.addCommand(new Command('status').option('-w, --watch', 'keep printing'))
const script = completionScript('bash', shapeOf(program))

/** What bash itself would offer after the words typed so far; the last one is the word under the cursor. */
const offered = (...words: string[]): string[] => offeredBy(script, ...words)

function offeredBy(completion: string, ...words: string[]): string[] {
  const test = `${completion}
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _insitu; printf '%s\\n' "\${COMPREPLY[@]}"`
  return execFileSync('bash', ['-c', test, 'bash', 'insitu', ...words], { encoding: 'utf8' })
    .split('\n')
    .filter((l) => l !== '')
}

describe('bash completion', () => {
  it('offers commands', () => {
    expect(offered('')).toEqual(expect.arrayContaining(['install', 'status']))
    expect(offered('in')).toEqual(['install'])
  })
  it('offers the options of the command on the line', () => {
    expect(offered('status', '--')).toEqual(expect.arrayContaining(['--watch', '--help']))
    expect(offered('status', '--')).not.toContain('--output')
  })
  it('offers the values of an option that has choices', () => {
    expect(offered('install', '--output', '')).toEqual(['text', 'json'])
  })
  it('offers them after an equals sign, which is a word of its own', () => {
    expect(offered('install', '--output', '=')).toEqual(['text', 'json'])
    expect(offered('install', '--output', '=', 'j')).toEqual(['json'])
  })
  it('offers the values of an argument that has choices, and of options of the program', () => {
    const whole = completionScript('bash', shapeOf(createProgram()))
    expect(offeredBy(whole, 'completion', '')).toEqual(['bash', 'zsh', 'fish'])
    expect(offeredBy(whole, 'completion', 'z')).toEqual(['zsh'])
    expect(offeredBy(whole, 'completion', '--')).toEqual(['--help'])
    expect(offeredBy(whole, 'install', '--mode', '')).toEqual(['node', 'rootless', 'mixed'])
    expect(offeredBy(whole, 'local', '--log-level', 'w')).toEqual(['warn'])
  })
})

it('fish gets one line for each option, with quotes kept', () => {
  const fish = completionScript('fish', shapeOf(program))
  expect(fish).toContain(`-l output -x -a 'text json'`)
  expect(fish).toContain(`-d 'install on the node'\\''s cluster'`)
})

it('zsh and fish offer the values of an argument, too', () => {
  const shape = shapeOf(createProgram())
  expect(completionScript('zsh', shape)).toContain(`'completion:arguments') echo 'bash zsh fish' ;;`)
  expect(completionScript('fish', shape)).toContain(
    `complete -c insitu -f -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'`,
  )
})
