import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { parseYaml } from '../../../src/kernel/k8s/yaml.ts'
import { pages, repository } from './pages.ts'

const blocks = (page: string): unknown[] =>
  [...(pages.find(({ file }) => file === page)?.text ?? '').matchAll(/^```yaml\n([\s\S]*?)^```/gm)].flatMap(
    ([, text]) => parseYaml(text ?? ''),
  )

test('the YAML about templates is a part of the example that the cluster tests apply', () => {
  const example = parseYaml(readFileSync(join(repository, 'config/examples/builds/template.yaml'), 'utf8'))
  const [block] = blocks('docs/templates.md')
  const build = example.find((object) => (object as { kind?: string }).kind === 'Build')
  expect(build).toMatchObject(block as object)
})
