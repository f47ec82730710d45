import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { createFixedDirectory } from '../gateway/directory/fixed.ts'
import type { Caller } from '../gateway/listener/caller.ts'
import { createLogger } from '../kernel/log.ts'
import { type PolicyParts, policyParts } from './gateway-policy.ts'

const tenants = `
[queue]
buildsPerNode = BUILDS

[[tenant]]
name = "heavy"
match = { namespaces = ["heavy"] }
weight = 3

[[tenant]]
name = "single"
match = { namespaces = ["single"] }
builds = 1

[[tenant]]
name = "light"
match = { namespaces = ["light"] }
`
const open: { close(): void }[] = []
const directories: string[] = []

afterEach(async () => {
  for (const one of open.splice(0)) one.close()
  for (const directory of directories.splice(0)) await rm(directory, { recursive: true })
})

/** What a gateway in front of two nodes makes of the policy file. */
async function withPolicy(buildsPerNode: number): Promise<PolicyParts> {
  const directory = await mkdtemp(join(tmpdir(), 'insitu-policy-'))
  directories.push(directory)
  const file = join(directory, 'policy.toml')
  await writeFile(file, tenants.replace('BUILDS', String(buildsPerNode)))
  const nodes = createFixedDirectory(['one', 'two'].map((name) => ({ name, address: { path: '/nowhere' } })))
  const parts = await policyParts({ file, directory: nodes, logger: createLogger({ level: 'silent' }) })
  open.push(parts)
  return parts
}

const callerOf = (namespace: string): Caller => ({ kind: 'service-account', namespace, serviceAccount: 'ci' })
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Builds that say when they start, and end when they are told. */
function builds({ turns }: PolicyParts) {
  const started: string[] = []
  const running: (() => void)[] = []
  const build = async (tenant: string, node: string): Promise<void> => {
    const { signal } = new AbortController()
    const release = await turns!.wait({ caller: callerOf(tenant), node, group: {}, signal })
    started.push(tenant)
    running.push(release)
  }
  const ask = (tenant: string, node = 'one'): void => void build(tenant, node)
  const endOne = async (): Promise<void> => {
    running.shift()?.()
    await settle()
  }
  return { ask, started, endOne }
}

test('a tenant of weight 3 starts three builds for one of a tenant that says nothing', async () => {
  const { ask, started, endOne } = builds(await withPolicy(1))
  for (let n = 0; n < 3; n++) ask('light')
  for (let n = 0; n < 6; n++) ask('heavy')
  await settle()
  for (let n = 0; n < 9; n++) await endOne()
  expect(started.join(' ')).toBe('light heavy heavy heavy light heavy heavy heavy light')
})

test('a tenant of one build starts one at a time, on whichever node, while others start', async () => {
  const { ask, started, endOne } = builds(await withPolicy(0))
  ask('single')
  ask('single', 'two')
  ask('light', 'two')
  ask('light', 'two')
  await settle()
  expect(started).toEqual(['single', 'light', 'light'])
  await endOne()
  expect(started).toEqual(['single', 'light', 'light', 'single'])
  for (let n = 0; n < 3; n++) await endOne()
})

const samples = (parts: PolicyParts, name: string): string[] =>
  parts
    .metrics()
    .split('\n')
    .filter((line) => line.startsWith(name))

test('the builds that wait are counted by node, while they do', async () => {
  const parts = await withPolicy(1)
  const { ask, endOne } = builds(parts)
  for (const node of ['one', 'one', 'one', 'two']) ask('light', node)
  await settle()
  expect(samples(parts, 'insitu_queue_builds')).toEqual([
    'insitu_queue_builds{node="one"} 2',
    'insitu_queue_builds{node="two"} 0',
  ])
  for (let n = 0; n < 4; n++) await endOne()
  expect(samples(parts, 'insitu_queue_builds')).toEqual([])
})

test('what the policy refuses is counted, by rule', async () => {
  const parts = await withPolicy(0)
  expect(samples(parts, 'insitu_refusals_total')).toEqual([])
  for (let n = 0; n < 2; n++)
    expect(() => parts.admission!.administer(callerOf('light'), 'Prune')).toThrow('for administrators')
  expect(samples(parts, 'insitu_refusals_total')).toEqual(['insitu_refusals_total{rule="administrator"} 2'])
  expect(samples(parts, 'insitu_policy_in_force')).toEqual(['insitu_policy_in_force 1'])
})
