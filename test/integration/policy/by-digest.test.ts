import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createAdmission } from '../../../src/gateway/policy/enforce.ts'
import { readPolicy } from '../../../src/gateway/policy/read-policy.ts'
import { createLogger } from '../../../src/kernel/log.ts'
import { type Buildkitd, startBuildkitd } from '../fixtures/buildkitd.ts'
import { buildctl, type ClientResult } from '../fixtures/clients.ts'
import { createWorkspace, type Workspace } from '../fixtures/context.ts'
import { startGateway, type TestGateway } from '../fixtures/gateway.ts'
import { type Registry, startRegistry } from '../fixtures/registry.ts'

let daemon: Buildkitd
let registry: Registry
let gateway: TestGateway
let work: Workspace

beforeAll(async () => {
  ;[daemon, registry, work] = await Promise.all([startBuildkitd(), startRegistry(), createWorkspace()])
  const policy = readPolicy(
    `[[tenant]]\nname = "team"\nmatch = { loopback = true }\nnames = ["${registry.address}/team/"]\n`,
    'policy.toml',
  )
  gateway = await startGateway({
    nodes: { one: daemon },
    config: { defaults: true },
    admission: createAdmission({ policy: () => policy, logger: createLogger({ level: 'silent' }) }),
  })
})
afterAll(async () => {
  await gateway?.close()
  await Promise.all([daemon?.stop(), registry?.stop()])
  await work?.remove()
})

async function push(repository: string): Promise<ClientResult & { readonly digest: string }> {
  const context = await work.context(`RUN echo ${repository} > /what\n`)
  const metadata = join(await work.directory(), 'metadata.json')
  // As buildx is told to for platforms that are built apart and put together later.
  const output = `type=image,name=${registry.address}/${repository},push-by-digest=true,name-canonical=true,push=true`
  const result = await buildctl(gateway.address, context, [`--output=${output}`, `--metadata-file=${metadata}`]).ended
  const said = result.exitCode === 0 ? (JSON.parse(readFileSync(metadata, 'utf8')) as Record<string, string>) : {}
  return { ...result, digest: said['containerimage.digest'] ?? '' }
}

test('what a client has pushed by its digest is there, and has no tag', async () => {
  const result = await push('team/app')
  expect(result.exitCode, result.output).toBe(0)
  expect(await registry.manifest('team/app', result.digest)).toBeDefined()
  expect(await registry.manifest('team/app', 'latest')).toBeUndefined()
})

test('the names of the policy hold there', async () => {
  const { exitCode, output } = await push('other/app')
  expect(exitCode).toBe(1)
  expect(output).toContain(`the name ${registry.address}/other/app:latest is not allowed`)
})
