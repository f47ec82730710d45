import { randomBytes } from 'node:crypto'
import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { apiVersion, type Build } from '../../src/api/builds/builds.ts'
import { pulledByLabel } from '../../src/api/builds/on-pull.ts'
import { run } from '../../src/kernel/process/run.ts'
import { pushRegistry } from '../lab/layout.ts'
import { waitFor } from '../lab/wait.ts'
import { both, ensureForeign, first, foreign, second } from './fixtures/foreign.ts'
import { buildctl, type BuildOptions, type Installed, repository, temporary } from './fixtures/insitu.ts'
import { podSays, runPod } from './fixtures/pods.ts'
import { portForward } from './fixtures/port-forward.ts'

interface Index {
  readonly manifests: readonly {
    readonly digest: string
    readonly platform: { readonly architecture: string }
    readonly annotations?: Readonly<Record<string, string>>
  }[]
}

const id = randomBytes(3).toString('hex')
let insitu: Installed
let door: Awaited<ReturnType<typeof portForward>>

beforeAll(async () => {
  insitu = await ensureForeign()
  door = await portForward(insitu.lab)
})
afterAll(async () => {
  await insitu?.kubectl(['delete', 'pods', '-l', `e2e=${id}`, '--wait=false', '--ignore-not-found'])
  await door?.[Symbol.asyncDispose]()
})

const dockerfile = (name: string): string =>
  [
    'FROM busybox:multi',
    `LABEL name=${name}`,
    'RUN uname -m > /machine',
    'CMD ["sh", "-c", "cat /machine; sleep 3600"]',
    '',
  ].join('\n')

async function build(name: string, options: Partial<BuildOptions> = {}) {
  await using context = await temporary()
  await writeFile(join(context.path, 'Dockerfile'), dockerfile(name))
  const file = join(context.path, 'metadata.json')
  const { opt, args = [], ...more } = options
  const asked = { addr: door.addr, context: context.path, opt: { platform: both, ...opt }, ...more }
  const result = await buildctl({ ...asked, args: [...args, '--metadata-file', file] })
  const said = JSON.parse(await readFile(file, 'utf8').catch(() => '{}')) as Record<string, string>
  return { ...result, digest: said['containerimage.digest'] }
}

const podOn = async (name: string, node: string, policy: string): Promise<string> =>
  podSays(insitu, await runPod(insitu, { label: id, image: name, policy, node, restart: 'Always' }), 120_000)

describe('an image of two platforms that stays', () => {
  const name = `registry.example.test/${id}/stays:v1`

  it('is built on a node of each, under one name and one digest, and pods of both start from it', async () => {
    const { stderr, digest } = await build(name, { name })
    expect(stderr).toContain(`[insitu] node ${foreign} builds linux/arm64`)
    const native = /\[insitu\] node (node[12]) builds linux\/amd64/.exec(stderr)?.[1] ?? ''
    expect(stderr).toContain('[linux/arm64 2/2] RUN uname -m')
    for (const node of [native, foreign]) {
      const { stdout } = await insitu.lab.exec(node, ['ctr', '-n', 'k8s.io', 'images', 'ls', `name==${name}`])
      expect(stdout).toContain(digest)
    }
    expect(await podOn(name, native, 'Never')).toBe('x86_64')
    expect(await podOn(name, foreign, 'Never')).toBe('aarch64')
    // Nothing was built there: its kubelet asks the mirror, which has an index and two nodes.
    expect(await podOn(name, native === first ? second : first, 'IfNotPresent')).toBe('x86_64')
  })
})

it('an image that is pushed is one index in the registry', async () => {
  const repository = `${id}/pushed`
  const output = `type=image,"name=${pushRegistry}/${repository}:v1",push=true,registry.insecure=true`
  const opt = { 'attest:provenance': 'mode=max' }
  const { stderr, digest } = await build('pushed', { opt, args: ['--output', output] })
  expect(stderr).toContain(`[insitu] node ${foreign} builds linux/arm64`)
  const accept = 'application/vnd.oci.image.index.v1+json'
  const answer = await fetch(`http://${pushRegistry}/v2/${repository}/manifests/v1`, { headers: { accept } })
  expect(answer.headers.get('docker-content-digest')).toBe(digest)
  const { manifests } = (await answer.json()) as Index
  expect(manifests.map(({ platform }) => platform.architecture)).toEqual(['amd64', 'arm64', 'unknown', 'unknown'])
  const [amd, arm, ...attestations] = manifests
  const about = attestations.map(({ annotations }) => annotations?.['vnd.docker.reference.digest'])
  expect(about).toEqual([amd?.digest, arm?.digest])
})

it('explain says which node would build what, natively or emulated, and why', async () => {
  const args = ['explain', `team/${id}:v1`, '--platform', `${both},linux/arm/v7`]
  const { stdout } = await run(join(repository, 'bin/insitu'), args, { env: { KUBECONFIG: insitu.lab.kubeconfig } })
  expect(stdout).toContain('would be built on several nodes at once')
  expect(stdout).toMatch(/^ {2}node node[12]: linux\/amd64 natively; linux\/arm\/v7 emulated \(rule /m)
  expect(stdout).toMatch(new RegExp(`^ {2}node ${foreign}: linux/arm64 natively \\(rule `, 'm'))
})

it('what is one stream to the client is built whole, emulated, and the progress says why', async () => {
  await using directory = await temporary()
  const tar = join(directory.path, 'image.tar')
  const { stderr } = await build('whole', { args: ['--output', `type=oci,dest=${tar}`] })
  expect(stderr).toContain('not split between 2 nodes, because type=oci is one stream to the client')
  expect(stderr).toMatch(/\[insitu\] node node[123]: .*linux\/a(md|rm)64 is emulated/)
  expect(stderr).not.toContain(' builds linux/')
  expect((await stat(tar)).size).toBeGreaterThan(1e6)
  const [files, flat] = [join(directory.path, 'files'), join(directory.path, 'flat.tar')]
  const outputs = { local: files, tar: flat, docker: join(directory.path, 'docker.tar') }
  await Promise.all(
    Object.entries(outputs).map(async ([type, dest]) => {
      // BuildKit's own answer to an image of two platforms for Docker is that it cannot.
      const other = await build('whole', { args: ['--output', `type=${type},dest=${dest}`], allow: [1] })
      expect(other.stderr).toContain(`not split between 2 nodes, because type=${type} is one stream to the client`)
      expect(other.exitCode, other.stderr).toBe(type === 'docker' ? 1 : 0)
    }),
  )
  const machine = (platform: string): Promise<string> => readFile(join(files, platform, 'machine'), 'utf8')
  expect([await machine('linux_amd64'), await machine('linux_arm64')]).toEqual(['x86_64\n', 'aarch64\n'])
  expect((await stat(flat)).size).toBeGreaterThan(1e6)
})

describe('buildx', () => {
  let configuration: Awaited<ReturnType<typeof temporary>>
  const buildx = async (...args: string[]): Promise<string> =>
    (await run('buildx', args, { env: { BUILDX_CONFIG: configuration.path }, timeout: 180_000 })).stderr

  beforeAll(async () => {
    configuration = await temporary()
    await buildx('create', '--name=lab', '--use', '--driver=remote', door.addr)
  })
  afterAll(() => configuration?.[Symbol.asyncDispose]())

  it('build and bake are split too, without a builder for each node, and targets upon others', async () => {
    await using context = await temporary()
    await writeFile(
      join(context.path, 'Dockerfile'),
      `${dockerfile(`x-${id}`)}ARG WHO\nRUN echo "$WHO on $(uname -m)" # ${id}\n`,
    )
    const split = (output: string, who: string): void => {
      expect(output).toMatch(new RegExp(`insitu\\] node ${foreign} builds linux/arm64`))
      for (const machine of ['x86_64', 'aarch64']) expect(output).toContain(`${who} on ${machine}\n`)
    }
    const build = ['build', '--progress=plain', `--platform=${both}`, '-o', 'type=cacheonly']
    split(await buildx(...build, '--build-arg=WHO=build', context.path), 'build')
    // What it is built upon is of its own platform.
    const uponOne = `FROM one\nARG WHO\nRUN echo "$WHO on $(cat /machine)" # ${id}\n`
    const target = (who: string) => ({
      ...{ context: context.path, args: { WHO: who }, platforms: both.split(','), output: ['type=cacheonly'] },
    })
    const upon = { ...target('upon'), contexts: { one: 'target:one' }, 'dockerfile-inline': uponOne }
    const file = join(context.path, 'bake.json')
    await writeFile(file, JSON.stringify({ target: { one: target('one'), two: target('two'), upon } }))
    const baked = await buildx(
      'bake',
      '--progress=plain',
      `--file=${file}`,
      `--allow=fs.read=${context.path}`,
      ...['one', 'two', 'upon'],
    )
    for (const who of ['one', 'two', 'upon']) split(baked, who)
  })
})

describe('one platform', () => {
  it.each(['linux/pdp11', 'linux/amd64/x/y/z', 'linux/amd64,,/', 'windows95'])(
    'that does not exist is refused: %s',
    async (platform) => {
      const { stderr, exitCode } = await build('unknown', { opt: { platform }, allow: [1] })
      expect(exitCode).toBe(1)
      expect(stderr).toMatch(/is not a platform: .*; to fix it: write it as linux\/amd64/)
    },
  )

  it('goes to the node that runs it natively', async () => {
    const { stderr } = await build('native', { opt: { platform: 'linux/arm64' } })
    expect(stderr).toContain(`[insitu] node ${foreign}: `)
    expect(stderr).not.toContain('is emulated')
  })

  it('is emulated where no node runs it natively, and the progress says so', async () => {
    const { stderr } = await build('emulated', { opt: { platform: 'linux/arm/v7' } })
    expect(stderr).toMatch(/\[insitu\] node node[123]: .*linux\/arm\/v7 is emulated/)
    expect(stderr).toContain('RUN uname -m')
  })

  it('that nobody runs is an error, when it must not be emulated, with what the cluster has', async () => {
    const opt = { platform: 'linux/s390x', 'insitu.emulate': 'never' }
    const { stderr, exitCode } = await build('never', { opt, allow: [1] })
    expect(exitCode).toBe(1)
    expect(stderr).toMatch(/linux\/s390x should not be emulated, and the cluster has .*linux\/amd64.*1 of linux\/arm64/)
  })
})

it('the node of another architecture is labelled as such, and builds of it are native there', async () => {
  const paths = ['.metadata.labels.kubernetes\\.io/arch', '.status.nodeInfo.architecture']
  const asks = ['get', 'node', foreign, '-o', `jsonpath=${paths.map((path) => `{${path}}`).join(' ')}`]
  expect(await insitu.kubectl(asks)).toBe('arm64 arm64')
  const report = (await insitu.agents()).get(foreign)?.report
  expect(report?.nativePlatforms).toContain('linux/arm64')
})

it('the handler that a node brings is left alone, and the agents have none for that architecture', async () => {
  const look = async (): Promise<true> => {
    const names = (await insitu.lab.exec(first, ['ls', '/proc/sys/fs/binfmt_misc'])).stdout.split('\n')
    expect(names).toContain(`lab-${foreign}`)
    expect(names).toContain(`insitu-riscv64@${first}`)
    expect(names.filter((name) => name.startsWith('insitu-aarch64@'))).toEqual([])
    return true
  }
  await waitFor('the agents to see it', look, { timeout: 90_000, interval: 1000 })
})

describe('a Build that waits for a pull', () => {
  const namespace = `platforms-${id}`
  const name = `images.internal/${id}/pulled:v1`
  const kubectl = (...args: string[]) => insitu.kubectl(['-n', namespace, ...args])
  afterAll(async () => {
    await insitu?.kubectl(['delete', 'namespace', namespace, '--wait=false', '--ignore-not-found'])
  })

  it('is built once for each platform of the nodes that ask at the same time, and pods of all of them start', async () => {
    await insitu.kubectl(['create', 'namespace', namespace])
    await kubectl('apply', '-f', join(repository, 'config/examples/builds/account.yaml'))
    const spec = {
      trigger: 'OnPull',
      serviceAccountName: 'builder',
      source: { dockerfile: dockerfile(name) },
      output: { names: [name] },
    }
    const object = { apiVersion, kind: 'Build', metadata: { name: 'pulled' }, spec }
    await insitu.kubectl(['-n', namespace, 'apply', '-f', '-'], JSON.stringify(object))
    await kubectl('wait', '--for=condition=Accepted', 'build/pulled', '--timeout=120s')
    const said = await Promise.all([first, second, foreign].map((node) => podOn(name, node, 'IfNotPresent')))
    expect(said).toEqual(['x86_64', 'x86_64', 'aarch64'])
    const list = JSON.parse(await kubectl('get', 'builds', '-l', pulledByLabel, '-o', 'json')) as { items: Build[] }
    // Both for one, or a later one for both, where the first had begun already.
    const platforms = list.items.map((one) => one.spec.platforms?.toSorted().join())
    expect(platforms).toHaveLength(new Set(platforms).size)
    expect(platforms.length).toBeLessThanOrEqual(2)
    expect(platforms).toContain(both)
  })
})
