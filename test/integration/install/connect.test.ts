import { spawn } from 'node:child_process'
import { existsSync, statSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { tokenAudience } from '../../../src/api/names.ts'
import { startClient } from '../fixtures/clients.ts'
import { createWorkspace, type Workspace } from '../fixtures/context.ts'
import type { TestGateway } from '../fixtures/gateway.ts'
import { tool } from '../fixtures/paths.ts'
import { until } from '../fixtures/until.ts'
import { type CertifiedGateway, startCertifiedGateway } from './certified-gateway.ts'
import { type Installed, startInstalled } from './installed.ts'

const program = fileURLToPath(new URL('../../../bin/insitu', import.meta.url))

let installed: Installed
let door: CertifiedGateway
let gateway: TestGateway
let work: Workspace
let context: string

beforeAll(async () => {
  ;[installed, work] = await Promise.all([startInstalled(), createWorkspace()])
  door = await startCertifiedGateway(installed)
  ;({ gateway } = door)
  await door.accounts('builder', 'other')
  context = await work.context('RUN echo connected\n')
})
afterAll(async () => {
  await door?.stop()
  installed?.admin.close()
  await Promise.all([installed?.server.close(), work?.remove()])
})

const connectArgs = (directory: string, account = 'default/builder', { port } = gateway): string[] => [
  ...['connect', '--kubeconfig', installed.server.kubeconfig, '--service-account', account],
  ...['--address', `127.0.0.1:${port}`, '--directory', directory],
]
const build = ['build', '--progress=plain', '--frontend=dockerfile.v0']
const locals = (): string[] => [`--local=context=${context}`, `--local=dockerfile=${context}`]

interface Printed {
  readonly address: string
  readonly serverName: string
  readonly socket?: string
  readonly notAfter: string
  readonly files: { readonly ca: string; readonly cert: string; readonly key: string }
  readonly environment: Record<string, string>
}

test('files for buildctl and buildx, of which nobody else can read the key', async () => {
  const directory = join(await work.directory(), 'tls')
  const result = await startClient(program, [...connectArgs(directory), '-o', 'json']).ended
  expect(result, result.output).toMatchObject({ exitCode: 0 })
  const { address, serverName, files } = JSON.parse(result.output) as Printed
  for (const file of Object.values(files)) expect(statSync(file).mode & 0o777).toBe(0o600)
  expect(statSync(directory).mode & 0o777).toBe(0o700)

  const tls = ['--addr', address, '--tlsservername', serverName, '--tlsdir', directory]
  const first = await startClient('buildctl', [...tls, ...build, ...locals()]).ended
  expect(first, first.output).toMatchObject({ exitCode: 0 })
  expect(gateway.log()).toContain('"caller":"service account default/builder"')

  const env = { BUILDX_CONFIG: await work.directory() }
  const options = `cacert=${files.ca},cert=${files.cert},key=${files.key},servername=${serverName}`
  const create = ['create', '--name=c', '--driver=remote', `--driver-opt=${options}`, address]
  expect(await startClient('buildx', create, { env }).ended).toMatchObject({ exitCode: 0 })
  const second = await startClient('buildx', ['build', '--builder=c', '-o', 'type=cacheonly', context], { env }).ended
  expect(second, second.output).toMatchObject({ exitCode: 0 })
})

test('lines for a shell are what buildctl needs', async () => {
  const directory = join(await work.directory(), "it's here")
  const script = `eval "$("$@")" && exec ${tool('buildctl')} --tlsservername "$INSITU_SERVER_NAME" --tlsdir "$INSITU_TLS_DIR" debug workers`
  const result = await startClient('/bin/sh', ['-c', script, 'sh', program, ...connectArgs(directory)]).ended
  expect(result, result.output).toMatchObject({ exitCode: 0 })
  expect(result.output).toContain('linux/amd64')
})

test('a command gets a socket that needs no certificate, and its exit code is ours', async () => {
  const directory = await work.directory()
  const run = (...command: string[]) => startClient(program, [...connectArgs(directory), '--', ...command]).ended
  const built = await run(tool('buildctl'), ...build, ...locals())
  expect(built, built.output).toMatchObject({ exitCode: 0 })
  expect(await run('/bin/sh', '-c', 'exit 7')).toMatchObject({ exitCode: 7 })
  const left = await startClient('/bin/ls', [directory]).ended
  expect(left.output.split('\n').filter((name) => name.endsWith('.sock'))).toEqual([])
})

test('--watch serves buildx until it is stopped', async () => {
  const directory = await work.directory()
  const watch = spawn(program, [...connectArgs(directory), '--watch', '-o', 'json'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let said = ''
  watch.stdout.on('data', (chunk) => (said += String(chunk)))
  const socket = join(directory, 'buildkitd.sock')
  await until('the socket', () => said.includes('buildkitd.sock') && existsSync(socket))
  const env = { BUILDX_CONFIG: await work.directory() }
  await startClient('buildx', ['create', '--name=w', '--driver=remote', `unix://${socket}`], { env }).ended
  const result = await startClient('buildx', ['build', '--builder=w', '-o', 'type=cacheonly', context], { env }).ended
  expect(result, result.output).toMatchObject({ exitCode: 0 })
  watch.kill('SIGTERM')
  await until('it to end', () => watch.exitCode !== null || watch.signalCode !== null)
  expect([watch.exitCode, existsSync(socket)]).toEqual([0, false])
})

test('--watch renews: socket and files are good for builds when the first certificate has ended', async () => {
  // Renewed at two thirds of its life: the last third is for a busy machine.
  const short = await startCertifiedGateway(installed, { name: 'gateway-short', clientLifetime: 20_000 })
  const directory = await work.directory()
  const args = connectArgs(directory, 'default/builder', short.gateway)
  const watch = startClient(program, [...args, '--watch', '-o', 'json'])
  try {
    const socket = join(directory, 'buildkitd.sock')
    await until('the socket', () => watch.output().endsWith('}\n') && existsSync(socket))
    const { address, serverName, notAfter } = JSON.parse(watch.output()) as Printed
    const tls = ['--tlsservername', serverName, '--tlsdir', directory]
    const bothBuild = async (): Promise<void> => {
      for (const way of [
        ['--addr', `unix://${socket}`],
        ['--addr', address, ...tls],
      ]) {
        const result = await startClient('buildctl', [...way, ...build, ...locals()]).ended
        expect(result, result.output).toMatchObject({ exitCode: 0 })
      }
    }
    await bothBuild()
    await until('the first certificate to have ended', () => Date.now() > Date.parse(notAfter) + 1000)
    await bothBuild()
  } finally {
    watch.kill('SIGTERM')
    await watch.ended
    await short.stop()
  }
})

test('in a pod: the token of the projected volume, and no kubeconfig', async () => {
  const directory = await work.directory()
  const pod = await installed.pod('ci-1', 'builder', 'node-1', 'default')
  const [token, ca] = [join(directory, 'token'), join(directory, 'given.pem')]
  await writeFile(token, await pod.token(tokenAudience))
  await writeFile(ca, door.identity.tls.current().ca)
  const args = ['connect', '--token-file', token, '--ca-file', ca, '--directory', join(directory, 'tls')]
  const env = { KUBECONFIG: '/nowhere', HOME: directory }
  const where = ['--address', `127.0.0.1:${gateway.port}`]
  const result = await startClient(program, [...args, ...where], { env }).ended
  expect(result, result.output).toMatchObject({ exitCode: 0 })
  expect(await readFile(join(directory, 'tls', 'cert.pem'), 'utf8')).toContain('BEGIN CERTIFICATE')
})

test('who may not build is told what is missing, at once', async () => {
  const result = await startClient(program, connectArgs(await work.directory(), 'default/other')).ended
  expect(result.exitCode).toBe(1)
  expect(result.output).toContain('create rolebinding insitu-other --clusterrole=insitu-builder')
  const watching = await startClient(program, [...connectArgs(await work.directory(), 'default/other'), '--watch'])
    .ended
  expect(watching.exitCode).toBe(1)
})
