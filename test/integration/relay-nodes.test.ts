import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Buildkitd, startBuildkitd } from './fixtures/buildkitd.ts'
import { buildctl, startClient } from './fixtures/clients.ts'
import { createWorkspace, type Workspace } from './fixtures/context.ts'
import { startGateway, type TestGateway } from './fixtures/gateway.ts'

const proxy = {
  HTTP_PROXY: 'http://user:hunter2@proxy.test:3128',
  https_proxy: 'http://proxy.test:3129',
  NO_PROXY: '.svc,10.0.0.0/8',
}

let red: Buildkitd
let blue: Buildkitd
let gateway: TestGateway
let work: Workspace

beforeAll(async () => {
  work = await createWorkspace()
  ;[red, blue] = await Promise.all([startBuildkitd(), startBuildkitd()])
  gateway = await startGateway({
    nodes: { red: { socket: red.socket, proxy }, blue: { socket: blue.socket, proxy } },
    config: { statusVertex: true, defaults: true, proxy: true },
  })
})

afterAll(async () => {
  await gateway?.close()
  await Promise.all([red?.stop(), blue?.stop()])
  await work?.remove()
})

/** Builds a daemon has recorded. */
async function history(daemon: Buildkitd): Promise<string[]> {
  const result = await startClient('buildctl', ['--addr', daemon.address, 'debug', 'histories', '--format={{json .}}'])
    .ended
  return result.output
    .trim()
    .split('\n')
    .filter((line) => line.includes('"COMPLETE"') || line.includes('"type":1'))
}

test('the workers are those of all nodes, each with its node as a label', async () => {
  const { output } = await startClient('buildctl', ['--addr', gateway.address, 'debug', 'workers', '-v']).ended
  expect(output).toMatch(/insitu\.build\/node:\s+blue/)
  expect(output).toMatch(/insitu\.build\/node:\s+red/)
})

test('insitu.node sends a build to each node, and the progress says so', async () => {
  const context = await work.context('ARG SALT\nRUN echo built\n')
  for (const [node, daemon] of Object.entries({ red, blue })) {
    const before = (await history(daemon)).length
    const args = [`--opt=insitu.node=${node}`, `--opt=build-arg:SALT=${node}`]
    const result = await buildctl(gateway.address, context, args).ended
    expect(result, result.output).toMatchObject({ exitCode: 0 })
    expect(result.output).toContain(`[insitu] node ${node}: asked for with insitu.node`)
    expect(await history(daemon)).toHaveLength(before + 1)
  }
})

test('buildx says the node with a build argument, which the daemon never sees', async () => {
  const context = await work.context('RUN true\n')
  const env = { BUILDX_CONFIG: await work.directory() }
  await startClient('buildx', ['create', '--name=x', '--driver=remote', gateway.address], { env }).ended
  const args = [
    'build',
    '--builder=x',
    '--progress=plain',
    '--build-arg=insitu.node=blue',
    '-o',
    'type=cacheonly',
    context,
  ]
  const result = await startClient('buildx', args, { env }).ended
  expect(result, result.output).toMatchObject({ exitCode: 0 })
  expect(result.output).toContain('[insitu] node blue: asked for with insitu.node')
  const records = (await history(blue)).join('\n')
  expect(records).toContain('image-resolve-mode')
  expect(records).not.toContain('insitu.node')
})

test('an unknown node and an unknown option are refused with what would work', async () => {
  const context = await work.context('RUN true\n')
  const unknown = await buildctl(gateway.address, context, ['--opt=insitu.node=green']).ended
  expect(unknown.exitCode).toBe(1)
  expect(unknown.output).toContain('there is no node "green"; to fix it: use one of blue, red')
  const typo = await buildctl(gateway.address, context, ['--opt=insitu.nodes=red']).ended
  expect(typo.exitCode).toBe(1)
  expect(typo.output).toContain('there is no option insitu.nodes')
})

test('RUN steps have the proxy variables of the node in both cases; image, history and cache do not', async () => {
  const context = await work.context('RUN env | grep -i _proxy= | sort && echo $RANDOM > /random\n')
  const tar = async (name: string, args: readonly string[] = []) => {
    const file = join(await work.directory(), name)
    const output = `--output=type=oci,dest=${file},compression=uncompressed`
    const result = await buildctl(gateway.address, context, ['--opt=insitu.node=red', output, ...args]).ended
    expect(result, result.output).toMatchObject({ exitCode: 0 })
    return { ...result, image: readFileSync(file, 'latin1') }
  }
  const first = await tar('first.tar')
  for (const line of [
    `HTTP_PROXY=${proxy.HTTP_PROXY}`,
    `http_proxy=${proxy.HTTP_PROXY}`,
    `HTTPS_PROXY=${proxy.https_proxy}`,
    `https_proxy=${proxy.https_proxy}`,
    `NO_PROXY=${proxy.NO_PROXY}`,
    `no_proxy=${proxy.NO_PROXY}`,
  ]) {
    expect(first.output).toContain(line)
  }
  expect(first.image).not.toContain('proxy.test')
  expect(first.image).not.toContain('hunter2')
  expect((await history(red)).join('\n')).not.toContain('hunter2')
  // The same step is cached although the client now chooses another proxy.
  const own = await tar('own.tar', ['--opt=build-arg:http_proxy=http://mine.test:1'])
  expect(own.output).toMatch(/CACHED/)
  const fresh = await tar('fresh.tar', [
    '--opt=build-arg:http_proxy=http://mine.test:1',
    '--opt=build-arg:HTTPS_PROXY=',
    '--no-cache',
  ])
  expect(fresh.output).toContain('HTTP_PROXY=http://mine.test:1')
  expect(fresh.output).toContain(`NO_PROXY=${proxy.NO_PROXY}`)
  expect(fresh.output).not.toContain('hunter2')
  expect(fresh.output).not.toContain('proxy.test:3129')
})

test('image exporters get the defaults, and a name is written in full', async () => {
  const context = await work.context('RUN echo defaults\n')
  const result = await buildctl(gateway.address, context, ['--opt=insitu.node=red', '--output=type=image,name=app'])
    .ended
  expect(result, result.output).toMatchObject({ exitCode: 0 })
  const record = (await history(red)).join('\n')
  expect(record).toContain('docker.io/library/app:latest')
  expect(record).toContain('"unpack":"true"')
  expect(record).toContain('"compression":"uncompressed"')
})
