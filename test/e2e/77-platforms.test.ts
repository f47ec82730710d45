import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ensureLab } from '../lab/lab.ts'
import { pushRegistry } from '../lab/layout.ts'
import { buildctl, type BuildOptions, ensureInstalled, type Installed, ready, temporary } from './fixtures/insitu.ts'
import { podSays, runPod } from './fixtures/pods.ts'
import { portForward } from './fixtures/port-forward.ts'

const id = randomBytes(3).toString('hex')
const [first, second, foreign] = ['node1', 'node2', 'node3'] as const
const both = 'linux/amd64,linux/arm64'
let insitu: Installed
let door: Awaited<ReturnType<typeof portForward>>

beforeAll(async () => {
  await ensureLab({ nodes: 3, foreign: [foreign] })
  insitu = await ensureInstalled(3)
  await ready(insitu)
  door = await portForward(insitu.lab)
})
afterAll(async () => {
  await insitu?.kubectl(['delete', 'pods', '-l', `e2e=${id}`, '--wait=false', '--ignore-not-found'])
  await door?.[Symbol.asyncDispose]()
  await ensureLab({ nodes: 3, foreign: [] })
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
  const { stderr, digest } = await build('pushed', { args: ['--output', output] })
  expect(stderr).toContain(`[insitu] node ${foreign} builds linux/arm64`)
  const accept = 'application/vnd.oci.image.index.v1+json'
  const answer = await fetch(`http://${pushRegistry}/v2/${repository}/manifests/v1`, { headers: { accept } })
  expect(answer.headers.get('docker-content-digest')).toBe(digest)
  const { manifests } = (await answer.json()) as { manifests: { platform: { architecture: string } }[] }
  expect(manifests.map(({ platform }) => platform.architecture)).toEqual(['amd64', 'arm64'])
})

describe('one platform', () => {
  it('goes to the node that runs it natively', async () => {
    const { stderr } = await build('native', { opt: { platform: 'linux/arm64' } })
    expect(stderr).toContain(`[insitu] node ${foreign}: `)
    expect(stderr).not.toContain('is emulated')
  })

  it('that nobody runs is an error, when it must not be emulated, with what the cluster has', async () => {
    const opt = { platform: 'linux/s390x', 'insitu.emulate': 'never' }
    const { stderr, exitCode } = await build('never', { opt, allow: [1] })
    expect(exitCode).toBe(1)
    expect(stderr).toMatch(/linux\/s390x should not be emulated, and the cluster has .*linux\/amd64.*1 of linux\/arm64/)
  })
})
