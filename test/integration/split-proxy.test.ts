import { afterAll, beforeAll, expect, test } from 'vitest'
import { daemonEnvironment } from '../../src/agent/buildkitd/environment.ts'
import { createAuthority } from '../../src/kernel/tls/ca.ts'
import { type Buildkitd, startBuildkitd } from './fixtures/buildkitd.ts'
import { buildctl } from './fixtures/clients.ts'
import { createWorkspace, type Workspace } from './fixtures/context.ts'
import { certificate } from './fixtures/front-door.ts'
import { startGateway, type TestGateway } from './fixtures/gateway.ts'
import { type HttpProxy, startHttpProxy } from './fixtures/http-proxy.ts'
import { type Registry, startRegistry } from './fixtures/registry.ts'

// Two nodes push to a registry with TLS whose name only the proxy knows, and so does the gateway.

const password = 's3cr3t-of-the-proxy'
let proxy: HttpProxy
let registry: Registry
let [red, blue]: Buildkitd[] = []
let gateway: TestGateway
let work: Workspace
/** `registry.only.test:PORT` */
let hidden: string

beforeAll(async () => {
  work = await createWorkspace()
  proxy = await startHttpProxy({
    hosts: { 'registry.only.test': '127.0.0.1' },
    login: { user: 'builder', password },
  })
  registry = await startRegistry({ memory: true, tls: await certificate(await createAuthority(), 'registry') })
  hidden = `registry.only.test:${registry.address.split(':')[1]}`
  const variables = { HTTP_PROXY: proxy.url, HTTPS_PROXY: proxy.url }
  const { TMPDIR: _, ...env } = daemonEnvironment(variables, '/tmp')
  const start = (platform: string): Promise<Buildkitd> =>
    startBuildkitd({
      config: `[worker.oci]\nplatforms = ["${platform}"]\n[registry."${hidden}"]\ninsecure = true\n`,
      env,
    })
  ;[red, blue] = await Promise.all([start('linux/amd64'), start('linux/arm64')])
  gateway = await startGateway({
    nodes: {
      red: { socket: red.socket, native: ['linux/amd64'], proxy: variables },
      blue: { socket: blue.socket, native: ['linux/arm64'], proxy: variables },
    },
    config: { statusVertex: true, defaults: true },
    patience: 30_000,
  })
})
afterAll(async () => {
  await gateway?.close()
  await Promise.all([red?.stop(), blue?.stop(), registry?.stop(), proxy?.stop()])
  await work?.remove()
})

test('a build of two nodes is pushed, its index too, where only a proxy reaches the registry', async () => {
  const context = await work.context('FROM scratch\nARG TARGETARCH\nCOPY note /note-of-$TARGETARCH\n', { note: 'x' })
  const push = async (attributes: string) =>
    buildctl(gateway.address, context, [
      '--opt=platform=linux/amd64,linux/arm64',
      `--output=type=image,name=${hidden}/team/app:v1,push=true${attributes}`,
    ]).ended
  const { exitCode, output } = await push(',registry.insecure=true')
  expect(exitCode, output).toBe(0)
  expect(output).toContain(`pushed as ${hidden}/team/app:v1`)
  // Its certificate is nobody's for the gateway: through a proxy it counts as ever.
  const refused = await push('')
  expect(refused.output).toMatch(/the index of .* cannot be pushed: .*certificate/)
  expect(new Set(proxy.requests())).toEqual(new Set([`CONNECT ${hidden}`]))
  expect(output + refused.output + gateway.log()).not.toContain(password)
})
