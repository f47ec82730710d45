import { rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createAdmission } from '../../../src/gateway/policy/enforce.ts'
import { type PolicySource, policyFromFile } from '../../../src/gateway/policy/source.ts'
import { createLogger } from '../../../src/kernel/log.ts'
import { type Buildkitd, startBuildkitd } from '../fixtures/buildkitd.ts'
import { buildctl, startClient } from '../fixtures/clients.ts'
import { createWorkspace, type Workspace } from '../fixtures/context.ts'
import { startGateway, type TestGateway } from '../fixtures/gateway.ts'
import { until } from '../fixtures/until.ts'

let daemons: Record<'red' | 'blue', Buildkitd>
let work: Workspace
let source: PolicySource
let gateway: TestGateway
let file: string

const text = (nodes: string): string => `[[tenant]]\nname = "all"\nmatch = { anybody = true }\nnodes = ${nodes}\n`
/** As Kubernetes and editors do it. */
const write = async (content: string): Promise<void> => {
  await writeFile(`${file}.new`, content)
  await rename(`${file}.new`, file)
}

beforeAll(async () => {
  work = await createWorkspace()
  const [red, blue] = await Promise.all([startBuildkitd(), startBuildkitd()])
  daemons = { red, blue }
  file = join(await work.directory(), 'policy.toml')
  await write(text('["red"]'))
  source = await policyFromFile({ file, logger: createLogger({ level: 'silent' }) })
  gateway = await startGateway({
    nodes: daemons,
    config: { statusVertex: true },
    admission: createAdmission({ policy: () => source.current(), logger: createLogger({ level: 'silent' }) }),
  })
})
afterAll(async () => {
  source?.close()
  await gateway?.close()
  await Promise.all([daemons?.red.stop(), daemons?.blue.stop(), work?.remove()])
})

const nodeOf = async (salt: string, ...args: string[]): Promise<string> => {
  const context = await work.context(`RUN echo ${salt}\n`)
  const { output } = await buildctl(gateway.address, context, args).ended
  return /\[insitu\] node (\w+):/.exec(output)?.[1] ?? output
}

test('builds go to the nodes that the policy allows, also after it was read again', async () => {
  // Each context has another cache key: without the policy they would go to both nodes.
  const places = await Promise.all(['a', 'b', 'c', 'd'].map((salt) => nodeOf(salt, `--opt=context=${salt}`)))
  expect(new Set(places)).toEqual(new Set(['red']))
  await write(text('["blue"]'))
  await until('the policy to be read', () => source.current().tenants[0]?.rights.nodes[0] === 'blue')
  expect(await nodeOf('e')).toBe('blue')
})

test('buildx, which asks any node a question first, builds where the policy allows, though another node comes first', async () => {
  const env = { BUILDX_CONFIG: await work.directory() }
  await startClient('buildx', ['create', '--name=n', '--driver=remote', gateway.address], { env }).ended
  const context = await work.context('RUN echo by-buildx\n')
  const args = ['build', '--builder=n', '--progress=plain', '--output=type=cacheonly', context]
  const result = await startClient('buildx', args, { env }).ended
  expect(result, result.output).toMatchObject({ exitCode: 0 })
  expect(result.output).toContain('[insitu] node blue:')
})

test('another node is refused, with the rule', async () => {
  expect(await nodeOf('f', '--opt=insitu.node=red')).toContain('node red is not allowed (rule: tenant "all": nodes)')
})

test('a file that is wrong or gone keeps the policy in force, and says so', async () => {
  const before = source.current()
  await write('[[tenant]]\nnmae = "x"\n')
  await until('the trouble to be known', () => source.problem()?.includes('stays in force'))
  expect([source.current(), source.rejected]).toEqual([before, 1])
  await rename(file, `${file}.gone`)
  await until('the loss to be known', () => source.problem()?.includes('is gone'))
  expect(source.current()).toBe(before)
  await write(text('["red", "blue"]'))
  await until('the trouble to be over', () => source.problem() === undefined)
  expect(source.current().tenants[0]?.rights.nodes).toEqual(['red', 'blue'])
})

test('a gateway does not start with a wrong file', async () => {
  const wrong = join(await work.directory(), 'policy.toml')
  await writeFile(wrong, 'tenant = 1\n')
  await expect(policyFromFile({ file: wrong, logger: createLogger({ level: 'silent' }) })).rejects.toThrow(
    'must be written [[tenant]]',
  )
})
