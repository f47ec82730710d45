import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'
import { createLogger } from '../../kernel/log.ts'
import { readPolicy } from './read-policy.ts'
import { policyFromFile } from './source.ts'

const tenant = '[[tenant]]\nname = "x"\nmatch = { anybody = true }\n'

test.for([
  ['exporters', 'imgae', 'image, local, tar, oci, docker'],
  ['cacheTo', 'regsitry', 'registry, local, inline, s3, azblob, gha'],
  ['cacheFrom', 'S3', 'registry, local, inline, s3, azblob, gha'],
  ['entitlements', 'network-host', 'network.host, security.insecure, device'],
])('%s: "%s" is taken, and doubted', ([key, value, known]) => {
  const policy = readPolicy(`${tenant}${key} = ["${value}"]\n`, 'policy.toml')
  expect(policy.tenants[0]?.rights).toMatchObject({ [key!]: [value] })
  const says = `policy.toml line 4: tenant.x.${key} has "${value}", which no build asks for; known are ${known}`
  expect(policy.warnings).toEqual([says])
})

test('what is inherited is doubted once, and patterns and devices never', () => {
  const defaults = `[defaults]\nexporters = ["imgae"]\ncacheTo = ["reg*"]\nentitlements = ["device=vendor.com/x=1"]\n`
  const { warnings } = readPolicy(defaults + tenant + tenant.replace('"x"', '"y"'), 'policy.toml')
  expect(warnings).toEqual([expect.stringContaining('policy.toml line 2: defaults.exporters has "imgae"')])
})

test('a gateway starts with it, takes it over, and says so in its log', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'insitu-policy-'))
  onTestFinished(() => rm(directory, { recursive: true }))
  const file = join(directory, 'policy.toml')
  await writeFile(file, `${tenant}exporters = ["imgae"]\n`)
  const lines: string[] = []
  const source = await policyFromFile({ file, logger: createLogger({ destination: { write: (l) => lines.push(l) } }) })
  onTestFinished(() => source.close())
  expect(lines.filter((line) => line.includes('"level":"warn"') && line.includes('imgae'))).toHaveLength(1)
  await writeFile(`${file}.new`, `${tenant}cacheTo = ["regsitry"]\n`)
  await rename(`${file}.new`, file)
  await vi.waitFor(() => expect(source.current().tenants[0]?.rights.cacheTo).toEqual(['regsitry']), 5000)
  expect([source.problem(), source.rejected]).toEqual([undefined, 0])
  expect(lines.filter((line) => line.includes('"level":"warn"') && line.includes('regsitry'))).toHaveLength(1)
})
