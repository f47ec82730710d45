import { existsSync, readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Client, startClient } from '../fixtures/clients.ts'
import { type FrontDoor, openFrontDoor, type Person } from '../fixtures/front-door.ts'
import { toolsBin as toolsPath } from '../fixtures/paths.ts'
import { type Registry, startRegistry } from '../fixtures/registry.ts'
import { until } from '../fixtures/until.ts'

// docker buildx as people use it, the real program, in front of two nodes.

let door: FrontDoor
let registry: Registry
let alice: Person
let root: Person

beforeAll(async () => {
  registry = await startRegistry()
  door = await openFrontDoor()
  ;[alice, root] = await Promise.all([door.person('alice'), door.administrator()])
})
afterAll(async () => {
  await door?.stop()
  await registry?.stop()
})

/** Builds on a node, to its end; throws with the output unless it succeeds. */
async function build(person: Person, args: readonly string[], options: Parameters<Person['buildx']>[1] = {}) {
  const result = await person.buildx(['build', '--progress=plain', ...args], options)
  if (result.exitCode !== 0) throw new Error(result.output)
  return result.output
}
const on = (node: string): string => `--build-arg=insitu.node=${node}`
const file = async (name: string): Promise<string> => join(await door.work.directory(), name)
const entries = async (tar: string): Promise<string> => (await startClient('/bin/tar', ['-tf', tar]).ended).output

test('a builder with TLS and one without show the nodes, their versions and platforms', async () => {
  for (const person of [alice, root]) {
    const result = await person.buildx(['inspect', '--bootstrap'])
    expect(result, result.output).toMatchObject({ exitCode: 0 })
    expect(result.output).toMatch(/Driver:\s+remote/)
    expect(result.output).toMatch(/Status:\s+running/)
    expect(result.output).toMatch(/BuildKit version:\s+v0\.\d+\.\d+/)
    expect(result.output).toMatch(/Platforms:\s+.*linux\/amd64/)
    const list = await person.buildx(['ls'])
    expect(list.output).toMatch(/door0?\s.*running/)
  }
})

describe('outputs', () => {
  let context: string
  beforeAll(async () => {
    context = await door.work.context('COPY note /note\n', { note: 'hello' })
  })

  test('local and tar', async () => {
    const out = await door.work.directory()
    await build(alice, [on('red'), '-o', `type=local,dest=${out}`, context])
    expect(readFileSync(join(out, 'note'), 'utf8')).toBe('hello')
    const tar = await file('out.tar')
    await build(alice, [on('blue'), '-o', `type=tar,dest=${tar}`, context])
    expect(await entries(tar)).toContain('note')
  })

  test('oci and docker', async () => {
    for (const [type, contains] of [
      ['oci', 'oci-layout'],
      ['docker', 'manifest.json'],
    ] as const) {
      const tar = await file(`${type}.tar`)
      await build(alice, [on('blue'), '-t', 'team/app:v1', '-o', `type=${type},dest=${tar}`, context])
      expect(await entries(tar)).toContain(contains)
    }
  })

  test('image, and push by either spelling', async () => {
    const output = await build(alice, [on('red'), '-o', 'type=image,name=team/app:v1', context])
    expect(output).toMatch(/exporting manifest list sha256|exporting manifest sha256/)
    const name = (tag: string): string => `${registry.address}/team/app:${tag}`
    await build(alice, [on('red'), '-t', name('flag'), '--push', context])
    await build(alice, [on('blue'), '-o', `type=image,name=${name('output')},push=true`, context])
    expect(await registry.manifest('team/app', 'flag')).toBeDefined()
    expect(await registry.manifest('team/app', 'output')).toBeDefined()
  })

  test('several at once', async () => {
    const [tar, out] = [await file('both.tar'), await door.work.directory()]
    await build(alice, [on('red'), '-o', `type=tar,dest=${tar}`, '-o', `type=local,dest=${out}`, context])
    expect(await entries(tar)).toContain('note')
    expect(existsSync(join(out, 'note'))).toBe(true)
  })

  test('none: it is built and cached, and the progress says how to keep it', async () => {
    const fresh = await door.work.context(`RUN echo only-cached-${Date.now()}\n`)
    const first = await build(alice, [on('red'), '-t', 'team/nowhere:v1', fresh])
    expect(first).toContain('[insitu] nothing is kept but the build cache; to keep the image: -o type=image,name=NAME')
    expect(await build(alice, [on('red'), fresh])).toContain('CACHED')
    const kept = await build(alice, [on('red'), '-o', 'type=image,name=team/kept', fresh])
    expect(kept).not.toContain('nothing is kept')
  })
})

describe('caches', () => {
  test.for(['registry', 'local'] as const)('%s: what one node has built the other one need not', async (type) => {
    const marker = `cache-${type}-${Date.now()}`
    const context = await door.work.context(`RUN echo ${marker} > /x\n`)
    const place = type === 'local' ? await door.work.directory() : `${registry.address}/team/cache:${type}`
    const [to, from] = type === 'local' ? [`dest=${place}`, `src=${place}`] : [`ref=${place}`, `ref=${place}`]
    const out = ['-o', 'type=cacheonly']
    await build(alice, [on('red'), ...out, `--cache-to=type=${type},mode=max,${to}`, context])
    const second = await build(alice, [on('blue'), ...out, `--cache-from=type=${type},${from}`, context])
    expect(second).toMatch(/CACHED \[\d+\/\d+\] RUN|\[\d+\/\d+\] RUN[^\n]*\n[^]*CACHED/)
  })

  test('inline: in the image that was pushed', async () => {
    const context = await door.work.context(`RUN echo inline-${Date.now()} > /x\n`)
    const name = `${registry.address}/team/inline:v1`
    await build(alice, [on('red'), '-t', name, '--push', '--cache-to=type=inline', '--provenance=false', context])
    const args = [on('blue'), '-o', 'type=cacheonly', `--cache-from=type=registry,ref=${name}`, context]
    expect(await build(alice, args)).toContain('CACHED')
  })
})

test('secrets and an ssh agent', async () => {
  const secret = await file('secret')
  await writeFile(secret, 'swordfish')
  const socket = await file('agent.sock')
  const agent = startClient('/usr/bin/ssh-agent', ['-D', '-a', socket])
  try {
    await until('the ssh agent', () => existsSync(socket))
    const context = await door.work.context(
      'RUN --mount=type=secret,id=word --mount=type=secret,id=env,env=FROM_ENV --mount=type=ssh ' +
        'cat /run/secrets/word > /word && echo "$FROM_ENV" > /env && test -S "$SSH_AUTH_SOCK"\n',
    )
    const out = await door.work.directory()
    const secrets = [`--secret=id=word,src=${secret}`, '--secret=id=env,env=INSITU_TEST_WORD']
    await build(alice, [on('blue'), ...secrets, `--ssh=default=${socket}`, '-o', `type=local,dest=${out}`, context], {
      env: { INSITU_TEST_WORD: 'sesame' },
    })
    expect(readFileSync(join(out, 'word'), 'utf8')).toBe('swordfish')
    expect(readFileSync(join(out, 'env'), 'utf8')).toBe('sesame\n')
  } finally {
    agent.kill('SIGTERM')
    await agent.ended
  }
})

test.for(['plain', 'rawjson', 'quiet', 'none', 'auto'] as const)('progress %s', async (kind) => {
  const context = await door.work.context('RUN echo some-step\n')
  const result = await alice.buildx(['build', `--progress=${kind}`, on('red'), '-o', 'type=cacheonly', context])
  expect(result, result.output).toMatchObject({ exitCode: 0 })
  expect(result.output.includes('[insitu] node red')).toBe(kind !== 'quiet' && kind !== 'none')
})

test('progress tty, on a terminal', async () => {
  const context = await door.work.context('RUN echo some-step\n')
  const result = await onTerminal(['build', '--progress=tty', on('red'), '-o', 'type=cacheonly', '--no-cache', context])
    .ended
  expect(result, result.output).toMatchObject({ exitCode: 0 })
  expect(result.output).toContain('[insitu] node red')
})

describe('attestations', () => {
  test('provenance in the image and in the metadata file', async () => {
    const context = await door.work.context('RUN echo provenance > /x\n')
    const metadata = await file('metadata.json')
    const name = `${registry.address}/team/attested:v1`
    await build(
      alice,
      [...[on('red'), '-t', name, '--push', '--provenance=mode=max', `--metadata-file=${metadata}`, context]],
      { env: { BUILDX_METADATA_PROVENANCE: 'max' } },
    )
    const index = await registry.manifest('team/attested', 'v1')
    expect(JSON.stringify(index)).toContain('attestation-manifest')
    const said = JSON.parse(readFileSync(metadata, 'utf8')) as Record<string, unknown>
    expect(said['image.name']).toBe(name)
    expect(said['containerimage.digest']).toMatch(/^sha256:/)
    expect(Object.keys(said).some((key) => key.startsWith('buildx.build.provenance'))).toBe(true)
  })

  test('an SBOM by a scanner of one’s own', async () => {
    const statement = { _type: 'https://in-toto.io/Statement/v0.1', predicateType: 'https://spdx.dev/Document' }
    const json = JSON.stringify({ ...statement, subject: [], predicate: { SPDXID: 'SPDXRef-DOCUMENT', name: 'tiny' } })
    const scanner = `${registry.address}/team/scanner:v1`
    const tool = await door.work.context('COPY scan.sh /scan.sh\nENTRYPOINT ["/bin/sh", "/scan.sh"]\n', {
      'scan.sh': `echo '${json}' > "$BUILDKIT_SCAN_DESTINATION/sbom.spdx.json"\n`,
    })
    await build(alice, [on('red'), '-t', scanner, '--push', '--provenance=false', tool])
    const context = await door.work.context('RUN echo scanned > /x\n')
    const name = `${registry.address}/team/scanned:v1`
    await build(alice, [on('blue'), '-t', name, '--push', `--sbom=generator=${scanner}`, context])
    const attestation = await attestationOf('team/scanned', 'v1')
    expect(attestation).toContain('https://spdx.dev/Document')
  })
})

/** The attestation manifest of the image that a tag points to. */
async function attestationOf(repository: string, tag: string): Promise<string> {
  const index = (await registry.manifest(repository, tag)) as {
    manifests: { digest: string; annotations?: Record<string, string> }[]
  }
  const entry = index.manifests.find((m) => m.annotations?.['vnd.docker.reference.type'] === 'attestation-manifest')
  return JSON.stringify(await registry.manifest(repository, entry?.digest ?? ''))
}

test('bake: several targets, one of which is the context of another, over one connection', async () => {
  const out = await door.work.directory()
  const context = await door.work.context('ARG WHO\nRUN echo "I am $WHO" > /who\n')
  const top = await door.work.context('COPY --from=below /who /below\n')
  const target = (name: string, more = ''): string =>
    `target "${name}" {\n context = "${context}"\n args = { WHO = "${name}", "insitu.node" = "red" }\n` +
    ` output = ["type=local,dest=${out}/${name}"]\n${more}}\n`
  const definition = join(out, 'bake.hcl')
  await writeFile(
    definition,
    `group "default" { targets = ["a", "b", "top"] }\n${target('a')}${target('b')}` +
      `target "top" {\n context = "${top}"\n contexts = { below = "target:a" }\n` +
      ` args = { "insitu.node" = "red" }\n output = ["type=local,dest=${out}/top"]\n}\n`,
  )
  const allow = [`--allow=fs=${out}`, `--allow=fs.read=${context}`, `--allow=fs.read=${top}`]
  const result = await alice.buildx(['bake', '--progress=plain', ...allow, '-f', definition])
  expect(result, result.output).toMatchObject({ exitCode: 0 })
  for (const name of ['a', 'b']) expect(readFileSync(join(out, name, 'who'), 'utf8')).toBe(`I am ${name}\n`)
  expect(readFileSync(join(out, 'top', 'below'), 'utf8')).toBe('I am a\n')
})

test('the probe that buildx sends first is answered and recorded nowhere', async () => {
  const ended = (): number => door.gateway.log().match(/"build ended"/g)?.length ?? 0
  const before = { records: await records(), ended: ended() }
  await build(alice, [on('blue'), '-o', 'type=cacheonly', await door.work.context('RUN true\n')])
  expect({ records: await records(), ended: ended() }).toEqual({
    records: before.records + 1,
    ended: before.ended + 1,
  })
})

async function records(): Promise<number> {
  const lists = [door.red, door.blue].map(
    ({ address }) =>
      startClient('buildctl', ['--addr', address, 'debug', 'histories', '--format={{.Record.Ref}}']).ended,
  )
  return (await Promise.all(lists)).flatMap(({ output }) => output.split('\n').filter((line) => line !== '')).length
}

const onTerminal = (args: readonly string[], input?: string): Client =>
  startClient('/usr/bin/script', ['-qefc', `buildx ${args.join(' ')}`, '/dev/null'], {
    env: { ...alice.env, PATH: `${toolsPath}:${process.env['PATH'] ?? ''}`, BUILDX_EXPERIMENTAL: '1', TERM: 'xterm' },
    ...(input === undefined ? {} : { input }),
  })
