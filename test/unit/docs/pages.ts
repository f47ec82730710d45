import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'

export const repository = join(import.meta.dirname, '../../..')

export interface Page {
  /** Path from the repository's root. */
  readonly file: string
  readonly text: string
  /** Lines of shell in its blocks of code; lines that go on are one. */
  readonly shell: readonly string[]
  /** What stands between single backquotes, on one line. */
  readonly spans: readonly string[]
}

/** What is made here, and links to it. */
const made = /^(?:node_modules|\.\w[^/]*|dist|coverage|src\/buildkit\/gen)(?:\/|$)/

/** Every file of the repository. */
export const files: readonly string[] = readdirSync(repository)
  .filter((name) => !made.test(name))
  .flatMap((name) =>
    statSync(join(repository, name)).isDirectory()
      ? readdirSync(join(repository, name), { recursive: true, encoding: 'utf8' }).map((file) => `${name}/${file}`)
      : [name],
  )
  .filter((file) => !made.test(file))

// Of a list they are indented.
const fence = /^ *```(\w*)\n([\s\S]*?)^ *```/gm

function readPage(file: string): Page {
  const text = readFileSync(join(repository, file), 'utf8')
  const shell = [...text.matchAll(fence)]
    .filter(([, language = '']) => ['', 'sh', 'console'].includes(language))
    .flatMap(([, , code = '']) =>
      code
        .replaceAll('\\\n', ' ')
        .split('\n')
        .map((line) => line.trimStart()),
    )
  const spans = [...text.replaceAll(fence, '').matchAll(/`([^`]+)`/g)].map(([, span = '']) => span.replace(/\s+/g, ' '))
  return { file, text, shell, spans }
}

/** What a person reads: every Markdown file. */
export const pages: readonly Page[] = files.filter((file) => file.endsWith('.md')).map(readPage)

/** Comments of the files that a user edits. */
export const comments: readonly { readonly file: string; readonly lines: readonly string[] }[] = files
  .filter((file) => /^(config|install)\/.*\.(toml|yaml)$/.test(file))
  .map((file) => ({
    file,
    lines: [...readFileSync(join(repository, file), 'utf8').matchAll(/^\s*# ?(.*)$/gm)].map(([, line = '']) => line),
  }))
