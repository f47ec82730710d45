import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { reasonLabel } from '../../src/agent/images/pins.ts'
import { namespace } from '../../src/api/names.ts'
import { run } from '../../src/kernel/process/run.ts'
import { waitFor } from '../lab/wait.ts'
import { startBuild } from './fixtures/background.ts'
import { buildctl, ensureInstalled, type Installed, ready, repository, temporary } from './fixtures/insitu.ts'
import { templateOnly } from './fixtures/deployments.ts'
import { holders, pruneImages } from './fixtures/node-images.ts'
import { podSays, podStatus, runPod } from './fixtures/pods.ts'
import { portForward } from './fixtures/port-forward.ts'

const id = randomBytes(3).toString('hex')
const nodes = ['node1', 'node2', 'node3'] as const
let insitu: Installed
let door: Awaited<ReturnType<typeof portForward>>

beforeAll(async () => {
  insitu = await ensureInstalled(3)
  await ready(insitu)
  door = await portForward(insitu.lab)
})
afterAll(async () => {
  await insitu?.kubectl(['delete', 'deployments,pods', '-l', `e2e=${id}`, '--wait=false', '--ignore-not-found'])
  await door?.[Symbol.asyncDispose]()
})

const image = (name: string, tag = 'v1'): string => `registry.example.test/${id}/${name}:${tag}`

async function build(name: string, says: string, on: string) {
  await using context = await temporary()
  const steps = ['FROM busybox', `LABEL name=${name}`, `RUN echo ${says} > /says`]
  await writeFile(
    join(context.path, 'Dockerfile'),
    [...steps, 'CMD ["sh", "-c", "cat /says; sleep 3600"]', ''].join('\n'),
  )
  const opt = { 'insitu.node': on, 'insitu.deliver': 'none' }
  return await buildctl({ addr: door.addr, context: context.path, name, opt })
}
const startPod = (name: string, policy: string, node: string): Promise<string> =>
  runPod(insitu, { label: id, image: name, policy, node, restart: 'Always' })
const says = (pod: string): Promise<string> => podSays(insitu, pod, 120_000)

describe('20 builds of one tag at once', () => {
  it('all end well, and every node comes to have the newest, which pods run', async () => {
    const name = image('crowd')
    await using context = await temporary()
    const steps = ['FROM busybox', 'ARG SALT', `LABEL name=${name}`, 'RUN echo $SALT > /says']
    await writeFile(
      join(context.path, 'Dockerfile'),
      [...steps, 'CMD ["sh", "-c", "cat /says; sleep 3600"]', ''].join('\n'),
    )
    const builds = Array.from({ length: 20 }, (_, i) =>
      startBuild({
        ...{ addr: door.addr, context: context.path, name },
        opt: { 'insitu.node': nodes[i % 3] ?? '', 'insitu.deliver': 'all', 'build-arg:SALT': `salt-${i}` },
      }),
    )
    const ends = await Promise.all(builds.map((one) => one.ended))
    for (const { code, output } of ends) expect(code, output).toBe(0)
    // A node that was left with an older one gives the name up, and its next pod gets the newest by the mirror.
    const newest = await waitFor(
      'pods of all nodes to run the same',
      async () => {
        const said = await Promise.all(nodes.map(async (on) => says(await startPod(name, 'Always', on))))
        return new Set(said).size === 1 ? said[0] : undefined
      },
      { timeout: 180_000, interval: 1000 },
    )
    expect(newest).toMatch(/^salt-\d+$/)
    // The others are told who has won.
    expect(ends[Number(newest.slice('salt-'.length))]?.output).not.toContain('has taken the name')
    const pods = await Promise.all(nodes.map((on) => startPod(name, 'Never', on)))
    expect(await Promise.all(pods.map((pod) => says(pod)))).toEqual(nodes.map(() => newest))
    const found = await holders(insitu.lab, name)
    expect([...found.keys()]).toEqual(nodes)
    expect(new Set(found.values()).size).toBe(1)
  })
})

describe('insitu explain', () => {
  it('says where the build goes, and why', async () => {
    const name = image('explained')
    const spec = { nodeSelector: { 'kubernetes.io/hostname': 'node2' }, containers: [{ name: 'main', image: name }] }
    await templateOnly(insitu, { name: `explained-${id}`, label: id, spec })
    const explain = async (...args: string[]): Promise<string> =>
      (
        await run(join(repository, 'bin/insitu'), ['explain', ...args], {
          env: { KUBECONFIG: insitu.lab.kubeconfig },
          timeout: 120_000,
        })
      ).stdout
    const said = await explain(image('explained', 'v2'))
    expect(said).toContain('would be built on node node2')
    expect(said).toMatch(/rule template: Deployment default\/explained-/)
    expect(said).toMatch(/^node1 +rejected .* node selector/m)
    await using context = await temporary()
    await writeFile(join(context.path, 'Dockerfile'), `FROM busybox\nLABEL name=${name}\n`)
    const built = await buildctl({ addr: door.addr, context: context.path, name: image('explained', 'v2') })
    expect(built.stderr).toContain('[insitu] node node2: Deployment default/explained-')
  })
})

describe('images in use', () => {
  it('outlast buildctl prune --all and crictl rmi --prune, which take what nothing needs', async () => {
    const [used, named] = [image('used'), image('named')]
    const container = { name: 'main', image: named }
    await templateOnly(insitu, { name: `named-${id}`, label: id, spec: { containers: [container] } })
    const idle = image('idle')
    await Promise.all([used, named, idle].map((name) => build(name, name, 'node1')))
    const pod = await startPod(used, 'Never', 'node1')
    expect(await says(pod)).toBe(used)
    // Three newer ones of each repository: the first is kept by its use alone, and the idle one by nothing.
    for (const tag of ['v2', 'v3', 'v4']) {
      await Promise.all(['used', 'named', 'idle'].map((of) => build(image(of, tag), `${of}-${tag}`, 'node1')))
    }
    const mine = async (...filter: string[]): Promise<string[]> => {
      const { stdout } = await insitu.lab.exec('node1', ['ctr', '-n', 'k8s.io', 'images', 'ls', '-q', ...filter])
      return stdout.split('\n').filter((line) => /\/(used|named|idle):/.test(line) && line.includes(id))
    }
    await waitFor(
      'the pin of the fourth-newest to go',
      async () => !(await mine('labels."io.cri-containerd.pinned"==pinned')).includes(idle) || undefined,
      { timeout: 60_000 },
    )
    await waitFor(
      'the agent to have been told what the Deployment names',
      async () => (await mine(`labels."${reasonLabel}"==wanted`)).includes(named) || undefined,
      { timeout: 120_000 },
    )
    const agent = (await insitu.agents()).get('node1')?.name ?? ''
    await insitu.kubectl(['-n', namespace, 'exec', agent, '--', 'buildctl', 'prune', '--all'])
    expect(await pruneImages('node1', `registry.example.test/${id}/`)).toContain(idle)
    const left = await mine()
    expect(left).toEqual(expect.arrayContaining([used, named, image('idle', 'v4')]))
    expect(left).not.toContain(idle)
    expect((await podStatus(insitu, pod)).phase).toBe('Running')
    const pods = await Promise.all([used, named].map((name) => startPod(name, 'Never', 'node1')))
    expect(await Promise.all(pods.map((pod) => says(pod)))).toEqual([used, named])
  })
})
