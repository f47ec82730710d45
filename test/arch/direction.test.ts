import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize, relative } from 'node:path'
import { describe, expect, it } from 'vitest'

const src = join(import.meta.dirname, '../../src')

interface Import {
  readonly file: string
  /** Path below src for our own files, the package or `node:` name otherwise. */
  readonly target: string
  readonly own: boolean
}

const files = readdirSync(src, { recursive: true, encoding: 'utf8' })
  .filter((f) => f.endsWith('.ts') && !f.startsWith('buildkit/gen/'))
  .sort()
const sources = new Map(files.map((f) => [f, readFileSync(join(src, f), 'utf8')]))

/** Static and dynamic imports and re-exports; `import type` counts too: a contract is a dependency. */
function importsOf(file: string, text: string): Import[] {
  return [...text.matchAll(/(?:\bfrom\s*|\bimport\s*\(\s*|^import\s+)(['"])([^'"]+)\1/gm)].map((m) => {
    const target = m[2] ?? ''
    const own = target.startsWith('.')
    return { file, own, target: own ? relative(src, normalize(join(src, dirname(file), target))) : target }
  })
}

const imports = [...sources].flatMap(([file, text]) => importsOf(file, text))
const layer = (path: string): string => path.split('/')[0]!.replace(/\.ts$/, '')
const isTest = (file: string): boolean => file.endsWith('.test.ts')

/** main → cli | gateway | agent | controller → api, buildkit → kernel; a command may compose any role. */
const mayImport: Record<string, readonly string[]> = {
  main: ['cli', 'kernel'],
  cli: ['cli', 'gateway', 'agent', 'controller', 'api', 'buildkit', 'kernel'],
  gateway: ['gateway', 'api', 'buildkit', 'kernel'],
  agent: ['agent', 'api', 'buildkit', 'kernel'],
  controller: ['controller', 'api', 'buildkit', 'kernel'],
  web: ['web', 'api', 'kernel'],
  api: ['api', 'kernel'],
  buildkit: ['buildkit', 'api', 'kernel'],
  kernel: ['kernel'],
}

/** A library or global that only these files may touch, so that it can be replaced in one place. */
const fences: readonly { readonly what: RegExp; readonly allowed: RegExp }[] = [
  { what: /^execa$/, allowed: /^kernel\/process\// },
  { what: /^node:child_process$/, allowed: /^kernel\/process\// },
  { what: /^@kubernetes\/client-node/, allowed: /^kernel\/k8s\// },
  { what: /^(node:)?http2$/, allowed: /^kernel\/grpc\// },
  { what: /^@iarna\/toml/, allowed: /^kernel\/config\// },
  { what: /^pino$/, allowed: /^kernel\/log\.ts$/ },
  { what: /^@peculiar\/x509$/, allowed: /^kernel\/tls\// },
  { what: /^commander$/, allowed: /^cli\// },
]

describe('the direction of imports', () => {
  it('finds the sources', () => {
    expect(files.length).toBeGreaterThan(15)
    expect(imports.filter((i) => i.own).length).toBeGreaterThan(15)
  })

  it('goes from main to roles to contracts to the kernel, and roles never meet', () => {
    const wrong = imports
      .filter((i) => i.own && !isTest(i.file))
      .filter((i) => !mayImport[layer(i.file)]?.includes(layer(i.target)) && !/^\.\.\/package\.json$/.test(i.target))
      .map((i) => `${i.file} imports ${i.target}`)
    expect(wrong).toEqual([])
  })

  it('has no cycles', () => {
    const edges = new Map<string, string[]>()
    for (const i of imports) if (i.own && !isTest(i.file)) edges.set(i.file, [...(edges.get(i.file) ?? []), i.target])
    const state = new Map<string, 'open' | 'done'>()
    const cycles: string[] = []
    const visit = (file: string, path: readonly string[]): void => {
      if (state.get(file) === 'done') return
      if (state.get(file) === 'open') {
        cycles.push([...path.slice(path.indexOf(file)), file].join(' → '))
        return
      }
      state.set(file, 'open')
      for (const next of edges.get(file) ?? []) visit(next, [...path, file])
      state.set(file, 'done')
    }
    for (const file of edges.keys()) visit(file, [])
    expect(cycles).toEqual([])
  })

  it('imports only files that exist', () => {
    const missing = imports.filter(
      (i) => i.own && !isTest(i.file) && !i.target.startsWith('buildkit/gen/') && !sources.has(i.target),
    )
    expect(missing.map((i) => `${i.file} imports ${i.target}`)).toEqual([])
  })
})

describe('fences', () => {
  it.each(fences)('$what stays in $allowed', ({ what, allowed }) => {
    const wrong = imports.filter((i) => !i.own && what.test(i.target) && !allowed.test(i.file) && !isTest(i.file))
    expect(wrong.map((i) => `${i.file} imports ${i.target}`)).toEqual([])
  })

  it('process.env is read in kernel/config, process.exit ends only an agent that has let go of its node, and a command that nobody reads', () => {
    const allowed = { env: /^kernel\/config\//, exit: /^cli\/(run-agent|broken-output)\.ts$/ }
    const wrong = [...sources]
      .filter(([file]) => !isTest(file))
      .flatMap(([file, text]) =>
        [...text.replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '').matchAll(/\bprocess\.(env|exit)\b(?!Code)/g)]
          .filter((m) => !allowed[m[1] as keyof typeof allowed].test(file))
          .map((m) => `${file} uses ${m[0]}`),
      )
    expect(wrong).toEqual([])
  })
})
