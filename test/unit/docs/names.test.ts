import { readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { describe, expect, it } from 'vitest'
import { files, type Page, pages, repository } from './pages.ts'

const exists = (path: string): boolean => files.some((file) => file === path || file.startsWith(`${path}/`))
const wrongIn = (find: (page: Page) => readonly string[]): string[] =>
  pages.flatMap((page) => find(page).map((what) => `${page.file}: ${what}`))

/** The anchors of a page, as GitHub makes them of its headings. */
const anchors = ({ text }: Page): string[] =>
  [...text.matchAll(/^#+ (.*)$/gm)].map(([, title = '']) =>
    title
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  )

describe('what the documentation points at', () => {
  it('links lead somewhere', () => {
    const wrong = wrongIn(({ file, text }) =>
      [...text.replaceAll(/^```[\s\S]*?^```/gm, '').matchAll(/\]\((?!https?:)([^)\s]+)\)/g)]
        .map(([, target = '']) => target)
        .filter((target) => {
          const [path = '', anchor] = target.split('#')
          const to = path === '' ? file : normalize(join(dirname(file), path))
          if (!exists(to)) return true
          const page = pages.find((p) => p.file === to)
          return anchor !== undefined && !(page && anchors(page).includes(anchor))
        }),
    )
    expect(wrong).toEqual([])
  })

  it('files and directories exist', () => {
    const path = /^(?:src|test|scripts|docs|config|install|tools)\/[\w./-]+$/
    expect(wrongIn(({ spans }) => spans.filter((s) => path.test(s) && !exists(s.replace(/\/$/, ''))))).toEqual([])
  })

  it('pages that messages and comments of the program name exist', () => {
    const named = files
      .filter((file) => /^(?:src|test|scripts|install|config)\/.*\.(?:ts|sh|yaml|toml)$/.test(file))
      .flatMap((file) =>
        [...readFileSync(join(repository, file), 'utf8').matchAll(/(?<!containerd's )\bdocs\/[\w/-]+\.md\b/g)].map(
          ([page]) => ({
            file,
            page,
          }),
        ),
      )
    expect(named.length).toBeGreaterThan(10)
    expect(named.filter(({ page }) => !exists(page))).toEqual([])
  })

  it('files that commands use exist', () => {
    const wrong = wrongIn(({ shell }) =>
      shell
        .flatMap((line) =>
          [...line.matchAll(/(?:^|[\s=])((?:config|install)\/[\w./-]+)/g)].map(([, path = '']) => path),
        )
        .filter((path) => !exists(path)),
    )
    expect(wrong).toEqual([])
  })

  it('tests that show a claim exist', () => {
    const tests = files.filter((file) => /^(src|test)\/.*\.ts$/.test(file))
    const isTest = (span: string): boolean =>
      tests.some((file) => `/${file}`.endsWith(`/${span}.ts`) || `/${file}`.endsWith(`/${span}.test.ts`))
    for (const [page, least] of [
      ...['security', 'front-door', 'flows', 'platforms', 'proxy', 'builds'].map(
        (name) => [`docs/${name}.md`, 20] as const,
      ),
      ...['placement', 'mirror', 'images', 'disk'].map((name) => [`docs/${name}.md`, 9] as const),
    ] as const) {
      const named = pages
        .find(({ file }) => file === page)
        ?.spans.filter((span) => /^(?:integration|e2e|unit)\/|\.test$/.test(span))
      expect(named?.length, page).toBeGreaterThan(least)
      expect(named?.filter((span) => !isTest(span))).toEqual([])
    }
  })

  it('metrics exist', () => {
    const source = files
      .filter((file) => /^src\/.*(?<!\.test)\.ts$/.test(file))
      .map((file) => readFileSync(join(repository, file), 'utf8'))
      .join('\n')
    const wrong = wrongIn(({ spans }) =>
      spans
        .flatMap((span) => /^insitu_[a-z_]+(?=$|[{ >=])/.exec(span)?.[0] ?? [])
        // Names by resource are put together in the source.
        .filter((name) => !source.includes(name) && !name.startsWith('insitu_disk_')),
    )
    expect(wrong).toEqual([])
  })
})

it('the index of the documentation has every page', () => {
  const index = pages.find(({ file }) => file === 'docs/README.md')?.text ?? ''
  const inDocs = pages.map(({ file }) => file).filter((file) => /^docs\/(?!README)/.test(file))
  expect(inDocs.length).toBeGreaterThan(30)
  expect(inDocs.filter((file) => !index.includes(`](${file.slice('docs/'.length)})`))).toEqual([])
})

describe('ARCHITECTURE.md', () => {
  it.each(['gateway', 'agent', 'controller'])('says what every folder of src/%s does', (role) => {
    const text = pages.find(({ file }) => file === 'ARCHITECTURE.md')?.text ?? ''
    const [, table = ''] = text.split(`| \`src/${role}/…\``)
    const rows = table.split('\n\n')[0] ?? ''
    const folders = new Set(files.flatMap((file) => new RegExp(`^src/${role}/([\\w-]+)/`).exec(file)?.[1] ?? []))
    expect(folders.size).toBeGreaterThan(2)
    expect([...folders].filter((folder) => !rows.includes(`\`${folder}\``))).toEqual([])
    const named = [...rows.matchAll(/^\| (`.*?) \|/gm)].flatMap(([, cell = '']) => [...cell.matchAll(/`([\w-]+)`/g)])
    expect(named.map(([, name = '']) => name).filter((name) => !folders.has(name))).toEqual([])
  })
})
