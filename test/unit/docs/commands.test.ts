import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { createProgram } from '../../../src/cli/cli.ts'
import { completionScript, shapeOf } from '../../../src/cli/completion.ts'
import { benches, benchFlags } from '../../bench/benches.ts'
import { commandLines, complaints } from './command-line.ts'
import { comments, pages, repository } from './pages.ts'

const read = (file: string): string => readFileSync(join(repository, file), 'utf8')
const program = createProgram()
/** Spans of a trace, which begin like a command (src/gateway/telemetry). */
const traces = ['insitu build', 'insitu place and queue']

const lines = [
  ...pages.flatMap(({ file, shell, spans }) =>
    [...shell, ...spans.filter((span) => !traces.includes(span))].flatMap((text) =>
      commandLines(text).map((line) => ({ file, line })),
    ),
  ),
  ...comments.flatMap((c) => c.lines.flatMap((text) => commandLines(text).map((line) => ({ file: c.file, line })))),
]

describe('commands that the documentation names', () => {
  it('are found', () => {
    expect(lines.length).toBeGreaterThan(60)
    expect(commandLines('kubectl exec POD -- insitu doctor --rootless | head')).toEqual([['doctor', '--rootless']])
    expect(commandLines('eval "$(insitu connect --address HOST:1)"')).toEqual([['connect', '--address', 'HOST:1']])
  })

  it('would be noticed if they were wrong', () => {
    expect(complaints(program, ['trace', 'hello'])).toEqual(['insitu takes no trace'])
    expect(complaints(program, ['install', '--bogus'])).toEqual(['install has no option --bogus'])
    expect(complaints(program, ['install', '--mode', 'loose'])).toEqual(['--mode does not take loose'])
    expect(complaints(program, ['status', 'now'])).toEqual(['status takes no now'])
    expect(complaints(program, ['policy', 'check', 'a.toml', 'b.toml'])).toEqual(['check takes no b.toml'])
  })

  it('exist, with their options and values', () => {
    const wrong = lines.flatMap(({ file, line }) =>
      complaints(program, line).map((complaint) => `${file}: insitu ${line.join(' ')}: ${complaint}`),
    )
    expect(wrong).toEqual([])
  })

  it('the options of install.md are those of install, status and uninstall', () => {
    const known = program.commands
      .filter((c) => ['install', 'status', 'uninstall'].includes(c.name()))
      .flatMap((c) => c.options.map(({ long }) => long))
    const said = pages.find(({ file }) => file === 'docs/install.md')?.spans ?? []
    const flags = said.flatMap((span) => /^--[\w-]+/.exec(span)?.[0] ?? [])
    expect(flags.length).toBeGreaterThan(20)
    expect(flags.filter((flag) => !known.includes(flag))).toEqual([])
  })

  it('are all completed by the shells', () => {
    const script = completionScript('bash', shapeOf(program))
    const missing = program.commands.flatMap((c) =>
      c.options.filter(
        ({ long, hidden }) => !hidden && !new RegExp(`'${c.name()}:options'\\).*[' ]${long}[' ]`).test(script),
      ),
    )
    expect(missing.map(({ flags }) => flags)).toEqual([])
    for (const { name } of shapeOf(program).commands)
      expect(script).toMatch(new RegExp(`':commands'\\).*[' ]${name}[' ]`))
  })
})

describe('programs of the repository that the documentation names', () => {
  const texts = pages.flatMap(({ file, shell, spans }) => [...shell, ...spans].map((text) => ({ file, text })))
  const named = (pattern: RegExp): { file: string; match: RegExpMatchArray }[] =>
    texts.flatMap(({ file, text }) => [...text.matchAll(pattern)].map((match) => ({ file, match })))

  it('benchmarks exist, with their options', () => {
    const found = named(/npm run -s bench -- ([\w-]+)([^`|#]*)/g).filter(({ match }) => match[1] !== 'NAME')
    expect(found.length).toBeGreaterThan(5)
    const wrong = found.filter(
      ({ match: [, name = '', rest = ''] }) =>
        !(name in benches) || [...rest.matchAll(/--([a-z]+)/g)].some(([, flag = '']) => !(flag in benchFlags)),
    )
    expect(wrong.map(({ file, match }) => `${file}: ${match[0]}`)).toEqual([])
  })

  it('parts of benchmarks exist', () => {
    const parts = named(/bench -- ([\w-]+)([^`]*--only [^`]*)/g).flatMap(({ match: [, name = '', rest = ''] }) =>
      [...rest.matchAll(/--only ([a-z]+)/g)].map(([, part = '']) => ({ name, part })),
    )
    expect(parts.length).toBeGreaterThan(3)
    // A benchmark is a file, or a folder with one of its name.
    const bench = (name: string): string =>
      read(
        existsSync(join(repository, `test/bench/${name}.ts`))
          ? `test/bench/${name}.ts`
          : `test/bench/${name}/${name}.ts`,
      )
    const wrong = parts.filter(({ name, part }) => !bench(name).includes(`'${part}'`))
    expect(wrong).toEqual([])
  })

  it('scripts of npm, targets of make and commands of the lab exist', () => {
    const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> }
    const targets = [...read('Makefile').matchAll(/^([a-z]+):/gm)].map(([, name]) => name)
    const lab = [...read('test/lab/commands.ts').matchAll(/\.command\('([\w-]+)'\)/g)].map(([, name]) => name)
    const wrong = [
      ...named(/npm run (?:-s )?(\w+)/g).filter(({ match }) => !((match[1] ?? '') in scripts)),
      ...named(/^make (\w+)/g).filter(({ match }) => !targets.includes(match[1])),
      ...named(/npm run -s lab -- ([\w-]+)/g).filter(({ match }) => !lab.includes(match[1])),
    ]
    expect(wrong.map(({ file, match }) => `${file}: ${match[0]}`)).toEqual([])
  })
})
