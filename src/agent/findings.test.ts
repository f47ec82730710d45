import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { join } from 'node:path'
import { grpcStatus } from '../kernel/errors.ts'
import { describe, expect, it } from 'vitest'

const here = fileURLToPath(new URL('.', import.meta.url))
const documentation = readFileSync(join(here, '../../docs/findings.md'), 'utf8')
const rows = [...documentation.matchAll(/^\| `([A-Z_]+)` *\| (\w+)/gm)].map(([, code = '', severity]) => ({
  code,
  severity,
}))
const documented = new Set(rows.map(({ code }) => code))

// What else lies in src/agent has commands of its own and reports no findings.
const files = ['agent.ts', 'plan.ts', 'part.ts', 'host', 'buildkitd', 'front', 'report', 'rootless']
  .flatMap((entry) =>
    entry.endsWith('.ts') ? [entry] : readdirSync(join(here, entry)).map((file) => join(entry, file)),
  )
  .filter((file) => !file.endsWith('.test.ts'))
  .map((file) => join(here, file))
const shared = ['../kernel/config/toml.ts', '../kernel/process/start.ts'].map((file) => join(here, file))
// Parts of the agent also have errors that are no findings: theirs are the literals with a `code:` before them.
const parts = readdirSync(here, { recursive: true, encoding: 'utf8' })
  .filter((file) => /^(?!clean|local)\w+\/.*\.ts$/.test(file) && !file.endsWith('.test.ts'))
  .map((file) => join(here, file))
const codes = new Set([
  ...parts.flatMap((file) => [...readFileSync(file, 'utf8').matchAll(/\bcode: '([A-Z_]+)'/g)].map((match) => match[1])),
  ...[...files, ...shared].flatMap((file) =>
    [...readFileSync(file, 'utf8').matchAll(/'([A-Z]+(?:_[A-Z]+)+|LOCKED)'/g)]
      .map((match) => match[1] ?? '')
      .filter((code) => !code.endsWith('_PROXY') && !(code in grpcStatus)),
  ),
])

const source = join(here, '..')
/** Findings as literals, wherever they are made. */
const literals = readdirSync(source, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'))
  .flatMap((file) => [
    ...readFileSync(join(source, file), 'utf8').matchAll(/\bcode: '([A-Z_]+)',\s*severity: '(\w+)'/g),
  ])
  .map(([, code = '', severity]) => ({ code, severity }))

describe('docs/findings.md', () => {
  it('says how severe each is', () => {
    expect(literals.length).toBeGreaterThan(25)
    const wrong = literals.filter(({ code, severity }) => !rows.some((r) => r.code === code && r.severity === severity))
    expect(wrong).toEqual([])
  })

  it('explains each once', () => {
    expect(rows.map(({ code }) => code).filter((code, i, all) => all.indexOf(code) !== i)).toEqual([])
  })

  it('explains every code', () => {
    expect([...codes].filter((code) => !documented.has(code ?? ''))).toEqual([])
  })

  it('explains nothing that does not exist', () => {
    expect([...documented].filter((code) => !codes.has(code ?? ''))).toEqual([])
  })
})
