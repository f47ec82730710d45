import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { defaultPolicy, modest } from '../../gateway/policy/policy.ts'
import { readPolicy } from '../../gateway/policy/read-policy.ts'
import { parseToml } from '../../kernel/config/toml.ts'
import { policyCommand } from '../policy.ts'
import { decideFor } from './check.ts'

const repository = join(import.meta.dirname, '../../..')
const page = await readFile(join(repository, 'docs/policy.md'), 'utf8')

/** Each policy of the page with the commands that stand below it. */
const examples = [...page.matchAll(/```toml\n([\s\S]*?)```\s*```sh\n([\s\S]*?)```/g)].map(
  ([, toml = '', shell = '']) => ({
    toml,
    commands: shell
      .split('\n')
      .filter((line) => line.startsWith('insitu policy check policy.toml '))
      .map((line) => ({ line, refused: line.endsWith('# refused') })),
  }),
)

describe('docs/policy.md', () => {
  test('has its examples', () => expect(examples.flatMap((e) => e.commands).length).toBeGreaterThan(5))
  test.each(examples.flatMap(({ toml, commands }) => commands.map((c) => ({ ...c, toml }))))(
    '$line',
    ({ line, refused, toml }) => {
      const words = line.replace(' # refused', '').split(' ').slice(3)
      const check = policyCommand().commands.find((c) => c.name() === 'check')
      const parsed = check?.action(() => undefined).parse(words, { from: 'user' })
      const decision = decideFor(readPolicy(toml, 'policy.toml'), parsed?.opts() ?? {})
      expect(decision).toMatchObject({ allowed: !refused })
    },
  )
})

test('config/policy.toml is valid, and its defaults are those of the code', async () => {
  const text = await readFile(join(repository, 'config/policy.toml'), 'utf8')
  const { defaults, queue } = parseToml(text, 'policy.toml')
  expect(defaults).toEqual(modest)
  expect(queue).toEqual({ buildsPerNode: defaultPolicy.buildsPerNode })
  expect(readPolicy(text, 'policy.toml').tenants).toHaveLength(3)
})
