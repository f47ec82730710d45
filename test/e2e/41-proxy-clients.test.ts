import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { apiVersion } from '../../src/api/builds/builds.ts'
import { configMaps, namespace, serviceAccounts } from '../../src/api/names.ts'
import { run, type RunResult } from '../../src/kernel/process/run.ts'
import { startClient } from '../integration/fixtures/clients.ts'
import { frontendContext } from '../integration/fixtures/frontend-image.ts'
import { tool } from '../integration/fixtures/paths.ts'
import { pushRegistry } from '../lab/lab.ts'
import { waitFor } from '../lab/wait.ts'
import { askingContext, type BehindProxy, proxyPassword, startBehindProxy } from './fixtures/behind-proxy.ts'
import { buildctl, ensureInstalled, type Installed, repository, temporary } from './fixtures/insitu.ts'
import { portForward } from './fixtures/port-forward.ts'

// Whoever builds, and however: the proxy of the cluster is there, unless it is switched off.

const id = randomBytes(3).toString('hex')
let insitu: Installed
let door: Awaited<ReturnType<typeof portForward>>
let behind: BehindProxy

beforeAll(async () => {
  insitu = await ensureInstalled()
  behind = await startBehindProxy(insitu)
  door = await portForward(insitu.lab)
  const first = async (): Promise<true> => {
    const { exitCode, stderr } = await asks({ path: 'first' })
    if (exitCode !== 0) throw new Error(stderr)
    return true
  }
  await waitFor('the ConfigMap to arrive', first, { timeout: 120_000 })
})
afterAll(async () => {
  await door?.[Symbol.asyncDispose]()
  await behind?.stop()
})

interface Asked {
  /** Another path makes another step. */
  readonly path: string
  readonly syntax?: string
  readonly args?: readonly string[]
  readonly opt?: Readonly<Record<string, string>>
}

/** A build with a step that asks the server behind the proxy. */
async function asks({ path, syntax, args = [], opt = {} }: Asked): Promise<RunResult> {
  await using context = await temporary()
  await askingContext(context.path, [`${behind.url}/${path}`], {
    salt: id,
    ...(syntax === undefined ? {} : { syntax }),
  })
  const options = { addr: door.addr, context: context.path, args, opt: { 'insitu.node': 'node1', ...opt } }
  // Awaited here: the context goes when this function returns.
  return await buildctl({ ...options, allow: [1] })
}

function expectAsked(path: string, output: string): void {
  expect(output).toContain(`${behind.url}/${path}: 200 OK ${behind.answer}`)
  expect(behind.proxy.requests()).toContain(`GET ${behind.url}/${path}`)
}

it('frontends in images, named as source and by a syntax line', async () => {
  const image = `${pushRegistry}/${id}/dockerfile:1`
  await using frontend = await temporary()
  await frontendContext(frontend.path)
  const output = ['--output', `type=image,name=${image},push=true`]
  await buildctl({ addr: door.addr, context: frontend.path, opt: { 'insitu.node': 'node1' }, args: output })
  const source = await asks({ path: 'source', args: ['--frontend=gateway.v0', `--opt=source=${image}`] })
  expectAsked('source', source.stderr)
  expectAsked('syntax', (await asks({ path: 'syntax', syntax: image })).stderr)
})

it('raw LLB', async () => {
  await using scratch = await temporary()
  const graph = join(scratch.path, 'graph')
  const script = '"$0" graph -script "env | grep -i _proxy= | sort" -salt "$1" > "$2"'
  await run('/bin/sh', ['-c', script, tool('probe'), id, graph])
  const args = ['--addr', door.addr, 'build', '--progress=plain', '--local=bin=/bin', '--opt=insitu.node=node1']
  const { stderr } = await run('buildctl', args, { input: await readFile(graph), timeout: 180_000 })
  expect(stderr).toContain(`HTTP_PROXY=${behind.proxy.url}`)
})

it('buildx bake', async () => {
  await using context = await temporary()
  await askingContext(context.path, [`${behind.url}/bake`], { salt: id })
  const env = { BUILDX_CONFIG: context.path }
  await run('buildx', ['create', '--name=lab', '--use', '--driver=remote', door.addr], { env })
  const target = (who: string) => ({
    ...{ context: context.path, args: { 'insitu.node': 'node1', WHO: who }, output: ['type=cacheonly'] },
  })
  const file = join(context.path, 'bake.json')
  await writeFile(file, JSON.stringify({ target: { one: target('one'), two: target('two') } }))
  const args = ['bake', '--progress=plain', `--file=${file}`, `--allow=fs.read=${context.path}`, 'one', 'two']
  expectAsked('bake', (await run('buildx', args, { env, timeout: 180_000 })).stderr)
})

it('a process that a client starts in a container of its own', async () => {
  const exec = (...more: string[]) =>
    startClient('probe', ['exec', `-addr=${door.addr}`, '-script', 'env', 'insitu.node=node1', ...more]).ended
  const { exitCode, output } = await exec()
  expect(exitCode, output).toBe(0)
  for (const name of ['HTTP_PROXY', 'http_proxy']) expect(output).toContain(`${name}=${behind.proxy.url}\n`)
  // What it sets itself stays.
  expect(output).toContain('FTP_PROXY=http://own.test:3\n')
  expect((await exec('insitu.proxy=off')).output).not.toMatch(/https?_proxy/i)
})

it('a proxy of the client, without a password; with another one the same build is fully cached', async () => {
  const open = await behind.open()
  try {
    const own = await asks({ path: 'open', opt: { 'build-arg:HTTP_PROXY': open.url } })
    expect(own.stderr).toContain(`${behind.url}/open: 200 OK ${behind.answer}`)
    expect(open.requests()).toContain(`GET ${behind.url}/open`)
    expect((await asks({ path: 'open' })).stderr).toMatch(/RUN probe get[^\n]*\n#\d+ CACHED/)
    expect(behind.proxy.requests()).not.toContain(`GET ${behind.url}/open`)
  } finally {
    await open.stop()
  }
})

it('insitu.proxy=off builds without any, and what is no URL is refused without being shown', async () => {
  const off = await asks({ path: 'off', opt: { 'insitu.proxy': 'off' } })
  expect(off.exitCode).toBe(1)
  expect(off.stderr).toMatch(/RUN probe get/)
  expect(behind.proxy.requests()).not.toContain(`GET ${behind.url}/off`)
  const wrong = await asks({ path: 'wrong', opt: { 'build-arg:HTTPS_PROXY': `http://user:${proxyPassword}` } })
  expect(wrong.exitCode).toBe(1)
  expect(wrong.stderr).toContain('the build argument HTTPS_PROXY is not a URL')
  expect(wrong.stderr).toContain('to fix it: write http://HOST:PORT')
  expect(wrong.stderr).not.toContain(proxyPassword)
})

it('a Build has that of its namespace, and gateways may read no other ConfigMap there', async () => {
  const team = `proxy-${id}`
  const kubectl = (args: readonly string[], object?: object) =>
    insitu.kubectl(['-n', team, ...args], object && JSON.stringify(object))
  const open = await behind.open()
  try {
    await insitu.kubectl(['create', 'namespace', team])
    const variables = { HTTP_PROXY: open.url, FTP_PROXY: 'http://ftp.test:1', ALL_PROXY: 'http://all.test:1' }
    const literals = Object.entries(variables).map(([name, value]) => `--from-literal=${name}=${value}`)
    await kubectl(['create', 'cm', configMaps.proxy, ...literals])
    await kubectl(['apply', '-f', join(repository, 'config/examples/builds/account.yaml')])
    const dockerfile = `FROM busybox\nLABEL of=${team}\nRUN wget -qO- ${behind.url}/${team} && env | grep -i _proxy=\n`
    const output = { names: [`images.internal/${team}/asks:v1`] }
    const spec = { serviceAccountName: 'builder', source: { dockerfile }, output }
    await kubectl(['apply', '-f', '-'], { apiVersion, kind: 'Build', metadata: { name: 'asks' }, spec })
    await kubectl(['wait', '--for=condition=Succeeded', 'build/asks', '--timeout=170s'])
    const log = await kubectl([
      'logs',
      `job/${await kubectl(['get', 'build', 'asks', '-o', 'jsonpath={.status.job}'])}`,
    ])
    for (const [name, value] of Object.entries(variables)) {
      for (const either of [name, name.toLowerCase()]) expect(log).toContain(`${either}=${value}\n`)
    }
    expect(open.requests()).toContain(`GET ${behind.url}/${team}`)
    expect(behind.proxy.requests()).not.toContain(`GET ${behind.url}/${team}`)
    const can = async (name: string): Promise<string> => {
      const as = `--as=system:serviceaccount:${namespace}:${serviceAccounts.gateway}`
      const args = ['--kubeconfig', insitu.lab.kubeconfig, '-n', team, 'auth', 'can-i', 'watch', `cm/${name}`, as]
      return (await run('kubectl', args, { allow: [1] })).stdout.trim()
    }
    expect([await can(configMaps.proxy), await can('others')]).toEqual(['yes', 'no'])
  } finally {
    await insitu.kubectl(['delete', 'namespace', team, '--wait=false', '--ignore-not-found'])
    await open.stop()
  }
})
