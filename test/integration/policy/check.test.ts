import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startClient } from '../fixtures/clients.ts'

const insitu = fileURLToPath(new URL('../../../bin/insitu', import.meta.url))
let directory: string
let policy: string

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'insitu-policy-'))
  policy = join(directory, 'policy.toml')
  const tenant = '[[tenant]]\nname = "a"\nmatch = { namespaces = ["a"] }\nnames = ["reg.example.com/a/"]\n'
  await writeFile(policy, tenant)
  await writeFile(join(directory, 'request.json'), '{"name": ["reg.example.com/b/x"], "platform": ["linux/amd64"]}')
  await writeFile(join(directory, 'wrong.toml'), `${tenant}nmaes = []\n`)
})
afterAll(() => rm(directory, { recursive: true, force: true }))

const check = (...args: string[]) => startClient(insitu, ['policy', 'check', ...args], { cwd: directory }).ended

test('a valid file, an allowed request, a refused one with the rule that decided', async () => {
  expect(await check(policy)).toMatchObject({
    exitCode: 0,
    output: expect.stringContaining('a: names reg.example.com/a/'),
  })
  const as = ['--as', 'spiffe://insitu.build/ns/a/sa/ci']
  const allowed = await check(policy, ...as, '--name', 'reg.example.com/a/x:v1', '-o', 'json')
  expect(allowed.exitCode).toBe(0)
  expect(JSON.parse(allowed.output)).toEqual({ allowed: true, tenant: 'a', warnings: [] })
  const refused = await check(policy, ...as, '--request', 'request.json')
  expect(refused.exitCode).toBe(1)
  expect(refused.output).toContain('refused: the name reg.example.com/b/x:latest is not allowed')
  expect(refused.output).toContain('rule: tenant "a": names')
  expect(await check(policy, '--namespace', 'b')).toMatchObject({ exitCode: 1 })
})

test('a wrong file is exit code 1 with the line, a wrong command line exit code 2', async () => {
  const wrong = await check('wrong.toml')
  expect(wrong).toMatchObject({ exitCode: 1, output: expect.stringContaining('wrong.toml line 5: there is no key') })
  expect(await check('nowhere.toml')).toMatchObject({ exitCode: 2 })
  expect(await check(policy, '--user', 'x', '--loopback')).toMatchObject({ exitCode: 2 })
  // Nobody asks: "valid" would be taken for "allowed".
  for (const words of ['--name foo/bar', '--service-account ci --group x --name foo/bar -o json']) {
    const nobody = await check(policy, ...words.split(' '))
    expect(nobody).toMatchObject({ exitCode: 2, output: expect.stringContaining('no caller is named') })
    expect(nobody.output).not.toContain('valid')
  }
})
