import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Buildkitd, startBuildkitd } from './fixtures/buildkitd.ts'
import { admitAll } from '../../src/gateway/policy/admission.ts'
import { buildctl, type ClientOptions, type ClientResult, startClient } from './fixtures/clients.ts'
import { createWorkspace, type Workspace } from './fixtures/context.ts'
import { startGateway, type TestGateway } from './fixtures/gateway.ts'
import { type Registry, startRegistry } from './fixtures/registry.ts'

/** Programs of this machine run there whatever the worker claims: what is tested is who builds what. */
let red: Buildkitd
let blue: Buildkitd
let gateway: TestGateway
let registry: Registry
let work: Workspace
let buildx: (args: readonly string[], options?: ClientOptions) => Promise<ClientResult>

const both = 'linux/amd64,linux/arm64'
const platforms = `--opt=platform=${both}`

beforeAll(async () => {
  work = await createWorkspace()
  ;[red, blue, registry] = await Promise.all([
    startBuildkitd({ config: '[worker.oci]\nplatforms = ["linux/amd64"]\n' }),
    startBuildkitd({ config: '[worker.oci]\nplatforms = ["linux/arm64"]\n' }),
    startRegistry({ memory: true }),
  ])
  gateway = await startGateway({
    nodes: {
      red: { socket: red.socket, native: ['linux/amd64', 'linux/386'] },
      blue: { socket: blue.socket, native: ['linux/arm64', 'linux/arm/v7'] },
    },
    config: { statusVertex: true, defaults: true },
    // Buildctl asks for workers first; on a busy machine the daemons' first answer takes its time.
    patience: 30_000,
  })
  const env = { BUILDX_CONFIG: await work.directory() }
  buildx = (args, options) => startClient('buildx', args, { ...options, env: { ...env, ...options?.env } }).ended
  await buildx(['create', '--name=x', '--use', '--driver=remote', gateway.address])
})

afterAll(async () => {
  await gateway?.close()
  await Promise.all([red?.stop(), blue?.stop(), registry?.stop()])
  await work?.remove()
})

const ok = (result: ClientResult): ClientResult => {
  expect(result.exitCode, result.output).toBe(0)
  return result
}

interface Index {
  readonly manifests: readonly {
    readonly digest: string
    readonly platform: Readonly<Record<string, string>>
    readonly annotations?: Readonly<Record<string, string>>
  }[]
}
const platformsOf = (index: unknown): string[] =>
  (index as Index).manifests.map(({ platform: { os, architecture, variant } }) =>
    [os, architecture, variant].filter((part) => part !== undefined).join('/'),
  )

test('each platform is built on its node, with the context and a secret of the one session, and says so', async () => {
  const context = await work.context(
    'ARG TARGETARCH\nCOPY note /note\nRUN --mount=type=secret,id=s echo "$TARGETARCH reads $(cat /note) $(cat /run/secrets/s)"\n',
    { note: 'a note' },
  )
  const secret = join(await work.directory(), 'secret')
  await writeFile(secret, 'whispered')
  const { output } = ok(await buildctl(gateway.address, context, [platforms, `--secret=id=s,src=${secret}`]).ended)
  expect(output).toMatch(/\[insitu\] node red builds linux\/amd64: /)
  expect(output).toMatch(/\[insitu\] node blue builds linux\/arm64: /)
  for (const arch of ['amd64', 'arm64']) {
    expect(output).toMatch(new RegExp(`#\\d+ [\\d.]+ ${arch} reads a note whispered`))
    expect(output).toMatch(new RegExp(`\\[linux/${arch} stage-0 4/4\\] RUN`))
  }
})

test('what is pushed is one index, with the attestations of each part, and the metadata has its digest', async () => {
  const context = await work.context('ARG TARGETARCH\nRUN echo $TARGETARCH > /arch\n')
  const name = `${registry.address}/team/app:v1`
  const metadata = join(await work.directory(), 'metadata.json')
  const args = ['build', `--platform=${both}`, '-o', `type=image,name=${name},push=true`, '--provenance=mode=max']
  ok(await buildx([...args, '--progress=plain', `--metadata-file=${metadata}`, context]))
  const index = await registry.manifest('team/app', 'v1')
  expect(platformsOf(index)).toEqual(['linux/amd64', 'linux/arm64', 'unknown/unknown', 'unknown/unknown'])
  const { manifests } = index as unknown as Index
  const [amd, arm, ...attestations] = manifests
  expect(attestations.map((a) => a.annotations?.['vnd.docker.reference.digest'])).toEqual([amd?.digest, arm?.digest])
  for (const { digest } of manifests) expect(await registry.manifest('team/app', digest)).toBeDefined()
  const said = JSON.parse(readFileSync(metadata, 'utf8')) as Record<string, unknown>
  const digest = String(said['containerimage.digest'])
  expect(await registry.manifest('team/app', digest)).toEqual(index)
  expect(said['image.name']).toBe(name)
  const provenance = Object.keys(said).filter((key) => key.startsWith('buildx.build.provenance'))
  expect(provenance.toSorted()).toEqual(both.split(',').map((platform) => `buildx.build.provenance/${platform}`))
})

test('another gateway shows the steps of all platforms afterwards', async () => {
  const other = await startGateway({ nodes: { red, blue } })
  try {
    const context = await work.context('ARG TARGETARCH\nRUN echo "afterwards on $TARGETARCH"\n')
    const file = join(await work.directory(), 'ref')
    ok(await buildctl(gateway.address, context, [platforms, `--ref-file=${file}`]).ended)
    const ref = readFileSync(file, 'utf8').trim()
    const logs = await startClient('buildctl', ['--addr', other.address, 'debug', 'logs', ref]).ended
    for (const arch of ['amd64', 'arm64']) {
      expect(ok(logs).output).toMatch(new RegExp(`\\[linux/${arch} 3/3\\] RUN`))
      expect(logs.output).toMatch(new RegExp(`\\d afterwards on ${arch}\n`))
    }
  } finally {
    await other.close()
  }
})

test.each(['without', 'with'])(
  'an annotation of one platform is in its manifest only, %s attestations',
  async (tag) => {
    const context = await work.context('ARG TARGETPLATFORM\nRUN echo $TARGETPLATFORM > /platform\n')
    const ofOne = ['amd64', 'arm64', 'arm/v7'].map((of) => `annotation[linux/${of}].of=${of},`).join('')
    const name = `${registry.address}/team/annotated:${tag}`
    const args = [
      ...[
        '--opt=platform=linux/amd64,linux/arm64,linux/arm/v7',
        ...(tag === 'with' ? ['--opt=attest:provenance='] : []),
      ],
      `--output=type=image,name=${name},${ofOne}annotation.who=all,annotation.of=nobody,push=true`,
    ]
    const { output } = ok(await buildctl(gateway.address, context, args).ended)
    expect(output).toContain('node blue builds linux/arm64, linux/arm/v7')
    const index = await registry.manifest('team/annotated', tag)
    const { manifests } = index as unknown as Index
    const images = manifests.filter(({ platform }) => platform['os'] === 'linux')
    expect(manifests.length - images.length).toBe(tag === 'with' ? 3 : 0)
    const annotations = images.map(
      async ({ digest }) => (await registry.manifest('team/annotated', digest))?.['annotations'],
    )
    expect(await Promise.all(annotations)).toEqual(['amd64', 'arm64', 'arm/v7'].map((of) => ({ who: 'all', of })))
  },
)

test('images that stay are on each node under the name, and the answer has the digest of their index', async () => {
  const context = await work.context('ARG TARGETARCH\nRUN echo stays $TARGETARCH > /arch\n')
  const metadata = join(await work.directory(), 'metadata.json')
  const output = '--output=type=image,name=team/stays:v1'
  const result = ok(await buildctl(gateway.address, context, [platforms, output, `--metadata-file=${metadata}`]).ended)
  const said = JSON.parse(readFileSync(metadata, 'utf8')) as Record<string, unknown>
  expect(result.output).toContain(`index: ${String(said['containerimage.digest'])}`)
  expect(said).toMatchObject({
    'image.name': 'docker.io/team/stays:v1',
    'containerimage.descriptor': { mediaType: 'application/vnd.oci.image.index.v1+json' },
  })
})

test('nodes are asked about the names that they would keep, and about none that is only pushed', async () => {
  const asked: [readonly string[], readonly string[]][] = []
  const own = await startGateway({
    nodes: {
      red: { socket: red.socket, native: ['linux/amd64'] },
      blue: { socket: blue.socket, native: ['linux/arm64'] },
    },
    patience: 30_000,
    admission: {
      ...admitAll,
      names(_, images, nodes) {
        asked.push([images, nodes.toSorted()])
        return Promise.resolve()
      },
    },
  })
  try {
    const context = await work.context('ARG TARGETARCH\nRUN echo named $TARGETARCH > /arch\n')
    const pushed = `--output=type=image,name=${registry.address}/team/pushed:v1,push=true`
    ok(await buildctl(own.address, context, [platforms, pushed]).ended)
    expect(asked).toEqual([])
    expect(platformsOf(await registry.manifest('team/pushed', 'v1'))).toHaveLength(2)
    ok(await buildctl(own.address, context, [platforms, '--output=type=image,name=team/named:v1']).ended)
    expect(asked).toEqual([[['docker.io/team/named:v1'], ['blue', 'red']]])
    // One node builds all of it, and keeps the name beside what it pushes.
    ok(await buildctl(own.address, context, [platforms, pushed, '--opt=insitu.node=red']).ended)
    expect(asked.slice(1)).toEqual([[[`${registry.address}/team/pushed:v1`], ['red']]])
  } finally {
    await own.close()
  }
})

test('bake builds each target on both nodes, with the context they share', async () => {
  const context = await work.context('ARG TARGETARCH\nARG WHO\nCOPY note /note\nRUN echo $WHO for $TARGETARCH\n', {
    note: 'shared',
  })
  const target = (who: string) => ({
    context,
    args: { WHO: who },
    platforms: both.split(','),
    output: ['type=cacheonly'],
  })
  const file = join(await work.directory(), 'bake.json')
  await writeFile(
    file,
    JSON.stringify({ group: { default: { targets: ['a', 'b'] } }, target: { a: target('a'), b: target('b') } }),
  )
  const { output } = ok(await buildx(['bake', '--progress=plain', `--file=${file}`, `--allow=fs.read=${context}`]))
  for (const who of ['a', 'b']) {
    for (const arch of ['amd64', 'arm64']) expect(output).toMatch(new RegExp(`${who} for ${arch}`))
  }
})

test.each([
  ['type=oci,dest=DIR/out.tar', 'type=oci is one stream to the client'],
  ['type=local,dest=DIR/out', 'type=local is one stream to the client'],
])('%s is built whole on one node, which says why', async (output, why) => {
  const context = await work.context('ARG TARGETARCH\nRUN echo $TARGETARCH > /arch\n')
  const args = [platforms, `--output=${output.replace('DIR', await work.directory())}`]
  const { output: text } = ok(await buildctl(gateway.address, context, args).ended)
  expect(text).toContain(`not split between 2 nodes, because ${why}`)
  expect(text).not.toContain(' builds linux/')
})

test('one node that is asked for, and platforms of one node, are built there', async () => {
  const context = await work.context('ARG TARGETPLATFORM\nRUN echo on $TARGETPLATFORM\n')
  const said = ok(await buildctl(gateway.address, context, [platforms, '--opt=insitu.node=red']).ended)
  expect(said.output).not.toContain(' builds linux/')
  const near = ok(await buildctl(gateway.address, context, ['--opt=platform=linux/amd64,linux/386']).ended)
  expect(near.output).not.toContain(' builds linux/')
  const three = ok(await buildctl(gateway.address, context, ['--opt=platform=linux/386,linux/arm64,linux/amd64']).ended)
  expect(three.output).toContain('node red builds linux/386, linux/amd64')
  for (const platform of ['386', 'amd64', 'arm64']) expect(three.output).toContain(`RUN echo on linux/${platform}`)
})

test('the first failure ends the other part, and is what the client reads; nothing is exported', async () => {
  const context = await work.context(
    'ARG TARGETARCH\nRUN if [ $TARGETARCH = arm64 ]; then echo it breaks here; exit 7; fi; sleep 600; true\n',
  )
  const name = `${registry.address}/team/broken:v1`
  const result = await buildctl(gateway.address, context, [platforms, `--output=type=image,name=${name},push=true`])
    .ended
  expect(result.exitCode).toBe(1)
  expect(result.output).toContain('it breaks here')
  expect(result.output).toMatch(/did not complete successfully: exit code: 7/)
  expect(await registry.manifest('team/broken', 'v1')).toBeUndefined()
  expect(gateway.activity.total).toBe(0)
})

test.each(['linux/pdp11', 'linux/amd64/x/y/z', 'linux/amd64,,/', 'windows95'])(
  'platform %s is refused',
  async (platform) => {
    const context = await work.context('RUN true\n')
    const result = await buildctl(gateway.address, context, [`--opt=platform=${platform}`]).ended
    expect(result.exitCode).toBe(1)
    expect(result.output).toMatch(/is not a platform: .*; to fix it: write it as linux\/amd64/)
  },
)

test('all records are deleted at once, also those of a build that two nodes have', async () => {
  const context = await work.context('RUN echo $RANDOM\n')
  const build = (...args: string[]) => buildx(['build', '--progress=plain', ...args, context])
  for (const args of [[`--platform=${both}`], ['--platform=linux/amd64'], ['--platform=linux/arm64']]) {
    ok(await build('--output=type=cacheonly', ...args))
  }
  const list = async (): Promise<string[]> =>
    ok(await buildx(['history', 'ls', '--format={{.Ref}}', '--no-trunc']))
      .output.split('\n')
      .filter((line) => line !== '')
  const refs = await list()
  expect(new Set(refs).size).toBeLessThan(refs.length)
  ok(await buildx(['history', 'rm', '--all']))
  expect(await list()).toEqual([])
})
