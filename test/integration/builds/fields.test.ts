import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readProvenance } from '../../../src/agent/images/provenance.ts'
import type { Recipe } from '../../../src/api/builds/builds.ts'
import { startClient } from '../fixtures/clients.ts'
import { type Registry, registryUser, startRegistry } from '../fixtures/registry.ts'
import { makeSshKey } from '../fixtures/ssh-key.ts'
import { until } from '../fixtures/until.ts'
import { type BuildPods, type PodInputs, startBuildPods } from './pod.ts'

let pods: BuildPods
let registry: Registry
let busybox: Buffer
let server: Server
let tarball: Buffer

const native = `linux/${process.arch === 'x64' ? 'amd64' : process.arch}`
const context = (dockerfile: string, more: Readonly<Record<string, string | Buffer>> = {}): PodInputs => ({
  workspace: { busybox, Dockerfile: dockerfile, ...more },
})
const workspace = { source: { workspace: {} } } as const
/** Credentials of the account, as docker writes them. */
const credentials = (password: string = registryUser.password) => {
  const auth = Buffer.from(`${registryUser.name}:${password}`).toString('base64')
  return { hub: { '.dockerconfigjson': JSON.stringify({ auths: { [registry.address]: { auth } } }) } }
}
const output = (...names: string[]): Pick<Recipe, 'output'> => ({
  output: { names: names.map((name) => `${registry.address}/${name}`), push: true, insecure: true },
})
const there = (repository: string) => registry.manifest(repository, '1')
const blob = async (repository: string, digest: string): Promise<unknown> => {
  const authorization = `Basic ${btoa(`${registryUser.name}:${registryUser.password}`)}`
  return (
    await fetch(`http://${registry.address}/v2/${repository}/blobs/${digest}`, { headers: { authorization } })
  ).json()
}
/** What is attested to an image of one platform: predicate type → statement. */
async function attestationsOf(repository: string): Promise<Readonly<Record<string, string>>> {
  const { manifests = [] } = (await there(repository)) as {
    manifests?: readonly { digest: string; annotations?: Record<string, string> }[]
  }
  const about = manifests.find(
    ({ annotations }) => annotations?.['vnd.docker.reference.type'] === 'attestation-manifest',
  )
  const { layers } = (await registry.manifest(repository, about?.digest ?? '')) as {
    layers: readonly { digest: string; annotations: Record<string, string> }[]
  }
  const all = layers.map(async ({ digest, annotations }) => {
    const type = annotations['in-toto.io/predicate-type'] ?? ''
    return [type, JSON.stringify(await blob(repository, digest))] as const
  })
  return Object.fromEntries(await Promise.all(all))
}

beforeAll(async () => {
  ;[pods, registry, busybox] = await Promise.all([
    startBuildPods({ statusVertex: true }),
    startRegistry({ user: registryUser }),
    readFile('/bin/busybox'),
  ])
  const directory = await mkdtemp(join(tmpdir(), 'insitu-fields-'))
  await writeFile(join(directory, 'Dockerfile'), 'FROM scratch\nCOPY of-a-tarball /\n')
  await writeFile(join(directory, 'of-a-tarball'), 'text\n')
  await promisify(execFile)('tar', ['-czf', join(directory, 'c.tgz'), '-C', directory, 'Dockerfile', 'of-a-tarball'])
  tarball = await readFile(join(directory, 'c.tgz'))
  await rm(directory, { recursive: true })
  server = createServer((_, response) => response.end(tarball))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
})
afterAll(async () => {
  server?.close()
  await Promise.all([pods?.stop(), registry?.stop()])
})

describe('what a Build says takes effect:', () => {
  test('a tarball behind a URL is the context', async () => {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/c.tgz`
    const ran = await pods.run({ source: { http: { url } } })
    expect(ran, ran.output).toMatchObject({ exitCode: 0 })
    expect(ran.output).toContain('COPY of-a-tarball /')
  })

  test('names are pushed with the credentials of the account, and what was pushed is said', async () => {
    const inputs = { ...context('FROM scratch\nCOPY marker Dockerfile /\n', { marker: 'in the image' }) }
    const ran = await pods.run(
      { ...workspace, ...output('a/one:1', 'a/two:1') },
      { ...inputs, registries: credentials() },
    )
    expect(ran, ran.output).toMatchObject({ exitCode: 0, outcome: { node: 'one', platform: native } })
    expect(ran.outcome.names).toEqual(['a/one:1', 'a/two:1'].map((name) => `${registry.address}/${name}`))
    expect(ran.outcome.digest).toMatch(/^sha256:[0-9a-f]{64}$/)
    expect([await there('a/one'), await there('a/two')]).toEqual([expect.anything(), expect.anything()])
    expect(ran.seen).not.toContain(registryUser.password)
  })

  test('user and password of an account are for the registries of their annotations', async () => {
    const secret = { basic: { username: registryUser.name, password: registryUser.password } }
    const inputs = { ...context('FROM scratch\nCOPY Dockerfile /\n'), registries: secret }
    const recipe = { ...workspace, ...output('a/basic:1') }
    const ran = await pods.run(recipe, {
      ...inputs,
      basicAuth: [{ secret: 'basic', servers: [`http://${registry.address}`] }],
    })
    expect(ran, ran.output).toMatchObject({ exitCode: 0 })
    expect(await there('a/basic')).toBeDefined()
    const other = await pods.run(recipe, { ...inputs, basicAuth: [{ secret: 'basic', servers: ['gcr.io'] }] })
    expect(other).toMatchObject({ exitCode: 1, outcome: { result: 'failed' } })
  })

  test('an image is the context', async () => {
    // It was pushed above; that its files are there shows in what it can copy.
    const recipe = { source: { image: { name: `${registry.address}/a/one:1` } } }
    const ran = await pods.run(recipe, { registries: credentials() })
    expect(ran, ran.output).toMatchObject({ exitCode: 0 })
    expect(ran.output).toContain('COPY marker Dockerfile /')
  })

  test('sub-path, Dockerfile, target, arguments, platforms, secrets and ssh', async () => {
    const dockerfile = [
      ...[
        'FROM scratch AS base',
        'COPY --chmod=755 busybox /bin/busybox',
        'FROM base AS wanted',
        'ARG WHO=nobody',
        'ARG TARGETPLATFORM',
      ],
      'RUN --mount=type=secret,id=npm --mount=type=ssh ["/bin/busybox", "sh", "-c", "/bin/busybox test -S $SSH_AUTH_SOCK && echo $WHO has $(/bin/busybox cat /run/secrets/npm) for $TARGETPLATFORM"]',
      ...['FROM base', 'RUN ["/bin/busybox", "false"]'],
    ].join('\n')
    const inputs: PodInputs = {
      workspace: { 'ctx/busybox': busybox, 'ctx/docker/Own': dockerfile },
      secrets: { npm: { token: 'a-token' }, key: { id: await makeSshKey() } },
    }
    const recipe: Recipe = {
      ...{ source: { workspace: { subPath: 'ctx' } }, dockerfile: 'docker/Own', target: 'wanted', node: 'one' },
      ...{ args: [{ name: 'WHO', value: 'somebody' }], platforms: [native] },
      secrets: [{ id: 'npm', secretName: 'npm', key: 'token' }],
      ssh: [{ id: 'default', secretName: 'key', key: 'id' }],
    }
    const ran = await pods.run(recipe, inputs)
    expect(ran, ran.output).toMatchObject({ exitCode: 0, outcome: { platform: native } })
    expect(ran.output).toContain(`somebody has a-token for ${native}`)
    const { target: _, ...without } = recipe
    expect(await pods.run(without, inputs)).toMatchObject({ exitCode: 1, outcome: { result: 'failed' } })
    const elsewhere = await pods.run({ ...recipe, node: 'two' }, inputs)
    expect(elsewhere.outcome.message).toContain('two')
  })

  test('labels are in the image, over those of the Dockerfile; without the cache every step runs again', async () => {
    const dockerfile =
      'FROM scratch\nLABEL a=old\nCOPY --chmod=755 busybox /busybox\nRUN ["/busybox", "echo", "it ran"]\n'
    const inputs = { ...context(dockerfile), registries: credentials() }
    const labels = { a: 'new', 'org.example/b': 'c=d, "e"\nf' }
    const names = [`${registry.address}/a/labels:1`]
    const recipe = { ...workspace, output: { names, push: true, insecure: true, labels } }
    const first = await pods.run(recipe, inputs)
    expect(first, first.output).toMatchObject({ exitCode: 0 })
    const manifest = (await there('a/labels')) as { config: { digest: string } }
    expect(await blob('a/labels', manifest.config.digest)).toMatchObject({ config: { Labels: labels } })
    expect((await pods.run(recipe, inputs)).output).toMatch(/CACHED/)
    const again = await pods.run({ ...recipe, noCache: true }, inputs)
    expect(again, again.output).toMatchObject({ exitCode: 0 })
    expect(again.output).toMatch(/it ran$/m)
    expect(again.output).not.toMatch(/CACHED/)
  })

  test('attestations are in the image, whose digest is that of an index; the scanner is none of its bases', async () => {
    const statement = { _type: 'https://in-toto.io/Statement/v0.1', predicateType: 'https://spdx.dev/Document' }
    const sbom = JSON.stringify({ ...statement, subject: [], predicate: { SPDXID: 'SPDXRef-DOCUMENT', name: 'tiny' } })
    const scan = `echo '${sbom}' > "$BUILDKIT_SCAN_DESTINATION/sbom.spdx.json"\n`
    const image = 'FROM scratch\nCOPY --chmod=755 busybox scan /\nENTRYPOINT ["/busybox", "sh", "/scan"]\n'
    const inputs = { ...context(image, { scan }), registries: credentials() }
    const scanner = await pods.run({ ...workspace, ...output('a/scanner:1', 'a/under:1') }, inputs)
    expect(scanner, scanner.output).toMatchObject({ exitCode: 0 })
    const [generator = '', base = ''] = scanner.outcome.names ?? []
    const attested = async (
      name: string,
      from: string,
      attestations: NonNullable<Recipe['output']>['attestations'],
    ) => {
      const { names, ...rest } = output(name).output as NonNullable<Recipe['output']>
      const recipe = {
        ...workspace,
        args: [{ name: 'A', value: 'an argument' }],
        output: { names, ...rest, attestations },
      }
      const ran = await pods.run(recipe, { ...inputs, ...context(`FROM ${from}\nARG A\nCOPY Dockerfile /\n`) })
      expect(ran, ran.output).toMatchObject({ exitCode: 0 })
      return ran.outcome
    }
    const outcome = await attested('a/max:1', base, { provenance: 'Max', sbom: { generator } })
    expect(await registry.manifest('a/max', outcome.digest ?? '')).toEqual(await there('a/max'))
    const under = { name: base, digest: scanner.outcome.digest }
    expect(outcome.bases).toEqual([under])
    // So it is to the agent of a node, which asks the daemon itself.
    const records = ['--addr', pods.daemon.address, 'debug', 'histories', '--format', '{{json .}}']
    const record = (await startClient('buildctl', records).ended).output
      .split('\n')
      .find((r) => r.includes('attest:sbom'))
    const [, ref = ''] = /"ref":"([^"]+)"/i.exec(record ?? '') ?? []
    expect((await readProvenance(pods.daemon.socket, ref))?.bases).toMatchObject([under])
    const all = await attestationsOf('a/max')
    expect(Object.keys(all).toSorted()).toEqual(['https://slsa.dev/provenance/v1', 'https://spdx.dev/Document'])
    expect(all['https://slsa.dev/provenance/v1']).toContain('an argument')
    const [max = ''] = outcome.names ?? []
    const upon = await attested('a/min:1', max, { provenance: 'Min' })
    expect(upon.bases).toEqual([{ name: max, digest: outcome.digest }])
    const { 'https://slsa.dev/provenance/v1': min, ...others } = await attestationsOf('a/min')
    expect(others).toEqual({})
    expect(min).not.toContain('an argument')
  })

  test('a cache is written to a registry, and used by a daemon that has nothing', async () => {
    const inputs = {
      ...context('FROM scratch\nCOPY --chmod=755 busybox /bin/busybox\nRUN ["/bin/busybox", "touch", "/made"]\n'),
      registries: credentials(),
    }
    const ref = `type=registry,ref=${registry.address}/a/cache:1,registry.insecure=true`
    const first = await pods.run({ ...workspace, cache: { to: [`${ref},mode=max`] } }, inputs)
    expect(first, first.output).toMatchObject({ exitCode: 0 })
    expect(await there('a/cache')).toBeDefined()
    const prune = startClient('buildctl', ['--addr', pods.daemon.address, 'prune', '--all'])
    expect(await prune.ended).toMatchObject({ exitCode: 0 })
    const second = await pods.run({ ...workspace, cache: { from: [ref] } }, inputs)
    expect(second, second.output).toMatchObject({ exitCode: 0 })
    expect(second.output).toMatch(/CACHED/)
  })
})

describe('what is the fault of the author is not tried again:', () => {
  const copy = 'FROM scratch\nCOPY Dockerfile /\n'
  const exit = 'FROM scratch\nCOPY --chmod=755 busybox /\nRUN ["/busybox", "false"]\n'
  const absent = { output: { names: ['127.0.0.1:1/a:1'], push: true, insecure: true } }
  const refused = /401|[Uu]nauthorized|authoriz/
  test.each([
    ['a wrong Dockerfile', () => workspace, () => context('FORM scratch\n'), /unknown instruction/],
    ['an exit code', () => workspace, () => context(exit), /exit code: 1/],
    ['401 without a password', () => ({ ...workspace, ...output('a/x:1') }), () => context(copy), refused],
    [
      '401 with a wrong password',
      () => ({ ...workspace, ...output('a/x:1') }),
      () => ({ ...context(copy), registries: credentials('wr0ng') }),
      refused,
    ],
    ['a registry that is not there', () => ({ ...workspace, ...absent }), () => context(copy), /refused/],
  ] as const)('%s', async (_, recipe, inputs, says) => {
    const ran = await pods.run(recipe(), inputs())
    expect(ran, ran.output).toMatchObject({ exitCode: 1, outcome: { result: 'failed' } })
    expect(ran.outcome.message).toMatch(says)
  })
})

describe('what is taken from the build is infrastructure:', () => {
  const slow = () =>
    context(
      'FROM scratch\nCOPY --chmod=755 busybox /busybox\nRUN ["/busybox", "sh", "-c", "echo it begun; /busybox sleep 900"]\n',
    )
  const begun = async () => {
    const running = await pods.begin(workspace, slow())
    await until('the step to run', () => /^#\d+ [\d.]+ it begun$/m.test(running.client.output()))
    return running
  }

  test('its pod, which is told to end', async () => {
    const running = await begun()
    running.client.kill('SIGTERM')
    const ran = await running.ended
    expect(ran, ran.output).toMatchObject({ exitCode: 75, outcome: { result: 'infrastructure' } })
    expect(ran.outcome.message).toContain('the pod was told to end')
  })

  test('its daemon, which is killed', async () => {
    const running = await begun()
    await pods.daemon.kill()
    const ran = await running.ended
    expect(ran, ran.output).toMatchObject({ exitCode: 75, outcome: { result: 'infrastructure', node: 'one' } })
  })
})
