import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { switchOff, switchOn } from '../lab/reboot.ts'
import { silent } from '../lab/progress.ts'
import { restartKubelet } from '../lab/kubelet.ts'
import { waitFor } from '../lab/wait.ts'
import { templateOnly } from './fixtures/deployments.ts'
import { buildctl, ensureInstalled, type Installed, ready, temporary } from './fixtures/insitu.ts'
import { podEvents, podSays, runPod } from './fixtures/pods.ts'
import { gatewayPod, portForward } from './fixtures/port-forward.ts'

const node = 'node2'
const id = randomBytes(3).toString('hex')
const repository = `registry.example.test/${id}`
const pin = 'io.cri-containerd.pinned'
let insitu: Installed
let door: Awaited<ReturnType<typeof portForward>>
/** Images of the lab's own that carry a pin while the kubelet collects. */
let spared: string[] = []

const ctr = async (...args: string[]): Promise<string> =>
  (await insitu.lab.exec(node, ['ctr', '-n', 'k8s.io', ...args])).stdout
const lines = (text: string): string[] => text.split('\n').filter((line) => line !== '')
const images = async (...filter: string[]): Promise<string[]> =>
  lines(await ctr('images', 'list', '-q', ...filter)).sort()
const ours = (names: readonly string[]): string[] => names.filter((name) => name.startsWith(repository))
const pinned = (): Promise<string[]> => images(`labels."${pin}"==pinned`)

/** Built on a node; no two have the same content. */
async function build(name: string, on = node, deliver = 'none'): Promise<void> {
  await using context = await temporary()
  const dockerfile = ['FROM busybox', `RUN echo ${name} > /says`, 'CMD ["sh", "-c", "cat /says; sleep 3600"]', '']
  await writeFile(join(context.path, 'Dockerfile'), dockerfile.join('\n'))
  const opt = { 'insitu.node': on, 'insitu.deliver': deliver }
  await buildctl({ addr: door.addr, context: context.path, name, opt })
}

const startPod = (name: string, policy: string): Promise<string> =>
  runPod(insitu, { label: id, image: name, policy, node, restart: 'Always' })
const says = (pod: string): Promise<string> => podSays(insitu, pod)

beforeAll(async () => {
  insitu = await ensureInstalled()
  await ready(insitu)
  door = await portForward(insitu.lab, `pod/${(await gatewayPod(insitu, node)).name}`)
})
afterAll(async () => {
  await insitu?.kubectl(['delete', 'deployments,pods', '-l', `e2e=${id}`, '--wait=false', '--ignore-not-found'])
  await door?.[Symbol.asyncDispose]()
})

describe('the kubelet’s image collector', () => {
  const tags = (...numbers: number[]): string[] => numbers.map((n) => `${repository}/kept:v${n}`)

  it('takes the unpinned fourth-newest build, and leaves the newest three, what a template names and what runs', async () => {
    const [named, used] = [`${repository}/named:v1`, `${repository}/used:v1`]
    const container = { name: 'main', image: named }
    await templateOnly(insitu, { name: `kept-${id}`, label: id, spec: { containers: [container] } })
    for (const name of [named, used, ...tags(1, 2, 3, 4)]) await build(name)
    expect(await says(await startPod(used, 'Never'))).toBe(used)
    // Newer ones of their repositories: only their use keeps these two.
    for (const n of [2, 3, 4]) for (const name of ['named', 'used']) await build(`${repository}/${name}:v${n}`)
    const kept = [
      ...tags(2, 3, 4),
      ...['named', 'used'].flatMap((name) => [1, 2, 3, 4].map((n) => `${repository}/${name}:v${n}`)),
    ].sort()
    await waitFor('the pins', async () => ours(await pinned()).join() === kept.join() || undefined, { timeout: 40_000 })
    const others = new Set(await pinned())
    // Not by the names: each image has one more, which is its id.
    const all = lines(await ctr('images', 'list')).map((line) => line.split(/\s+/))
    const mine = new Set(all.filter(([name]) => name?.startsWith(repository)).map(([, , digest]) => digest))
    spared = all.slice(1).flatMap(([name = '', , digest]) => (mine.has(digest) || others.has(name) ? [] : [name]))
    for (const name of spared) await ctr('images', 'label', name, `${pin}=pinned`)
    try {
      // With a highest age a kubelet collects as soon as it starts, and not five minutes later.
      await restartKubelet(node, { imageMinimumGCAge: '1ns', imageMaximumGCAge: '2ns' })
      await waitFor('the kubelet to collect', async () => ours(await images()).join() === kept.join() || undefined, {
        timeout: 60_000,
      })
      expect(ours(await pinned())).toEqual(kept)
    } finally {
      await restartKubelet(node, {})
      for (const name of spared) await ctr('images', 'label', name, `${pin}=`)
    }
  })
})

describe('a built image that is gone', () => {
  it('with its content comes back from another node, and a pod that may not pull starts', async () => {
    const name = `${repository}/gone:v1`
    await build(name, 'node1', 'all')
    await waitFor('the pin', async () => (await pinned()).includes(name) || undefined, { timeout: 60_000 })
    const digest = /sha256:[0-9a-f]{64}/.exec(await ctr('images', 'list', `name==${name}`))?.[0] ?? ''
    await ctr('content', 'rm', digest)
    await waitFor(
      'it to be whole again',
      async () => (await ctr('content', 'ls', '-q')).includes(digest) || undefined,
      {
        timeout: 60_000,
      },
    )
    expect(await says(await startPod(name, 'Never'))).toBe(name)
  })
})

describe('a node that was switched off and on again', () => {
  it('has its pins, its mirror, its records, its emulators and its pods as before', async () => {
    const [here, there] = [`${repository}/here:v1`, `${repository}/there:v1`]
    await build(here)
    await build(there, 'node1')
    const pod = await startPod(here, 'Never')
    expect(await says(pod)).toBe(here)
    await waitFor('the pin', async () => (await pinned()).includes(here) || undefined, { timeout: 60_000 })
    const hosts = ['cat', '/etc/containerd/certs.d/_default/hosts.toml', '/etc/containerd/certs.d/docker.io/hosts.toml']
    const before = { pins: ours(await pinned()), hosts: (await insitu.lab.exec(node, hosts)).stdout }
    expect(before.hosts.match(/insitu: begin/g)).toHaveLength(2)
    // One kernel under all nodes: the lab takes those of a node out when it is switched off.
    const emulators = async (): Promise<string[]> =>
      lines((await insitu.lab.exec('node1', ['ls', '/proc/sys/fs/binfmt_misc'])).stdout).filter((name) =>
        name.endsWith(`@${node}`),
      )
    const registered = await emulators()
    expect(registered).toContain(`insitu-riscv64@${node}`)
    const agent = (await insitu.agents()).get(node)?.name
    const startedAt = async (): Promise<string> =>
      insitu.kubectl([
        '-n',
        'buildkit-system',
        'get',
        'pod',
        agent ?? '',
        '-o',
        'jsonpath={.status.containerStatuses[0].state.running.startedAt}',
      ])
    const started = await startedAt()
    await switchOff(node)
    expect(await emulators()).toEqual([])
    await switchOn(node, silent)
    await waitFor('the agent to run anew', async () => ((await startedAt()) || started) !== started || undefined, {
      timeout: 120_000,
    })
    await ready(insitu)
    expect(await insitu.agents().then((agents) => agents.get(node)?.name)).toBe(agent)
    await waitFor(
      'the mirror to be registered',
      async () => (await insitu.lab.exec(node, hosts)).stdout === before.hosts || undefined,
      { timeout: 60_000 },
    )
    await waitFor('the pins', async () => ours(await pinned()).join() === before.pins.join() || undefined, {
      timeout: 60_000,
    })
    await waitFor('the emulators', async () => (await emulators()).join() === registered.join() || undefined, {
      timeout: 60_000,
    })
    expect((await insitu.agents()).get(node)?.report?.platforms).toContain('linux/riscv64')
    // Its own image, without any pull; another node's by the mirror; the pod of before; and it builds.
    expect(await says(await startPod(here, 'Never'))).toBe(here)
    expect(await says(await startPod(there, 'Always'))).toBe(there)
    await waitFor(
      'the pod of before to run',
      async () =>
        (await insitu.kubectl([
          'get',
          'pod',
          pod,
          '-o',
          'jsonpath={.status.containerStatuses[0].state.running.startedAt}',
        ])) || undefined,
      { timeout: 120_000 },
    )
    await build(`${repository}/after:v1`)
    const findings = (await insitu.agents()).get(node)?.report?.findings.map(({ code }) => code) ?? []
    expect(findings.filter((code) => /MIRROR|PART|IMAGE|BINFMT|EMULATOR/.test(code))).toEqual([])
  })
})

it('is waited for by a pull on another node while the agent of its only node is replaced', async () => {
  const name = `${repository}/between:v1`
  await build(name, 'node1')
  const agent = (await insitu.agents()).get('node1')?.name ?? ''
  await insitu.kubectl(['-n', 'buildkit-system', 'delete', 'pod', agent, '--timeout=120s'])
  const pod = await startPod(name, 'IfNotPresent')
  expect(await says(pod)).toBe(name)
  const events = await podEvents(insitu, pod)
  expect(events).toContain('Pulled: Successfully pulled')
  expect(events).not.toMatch(/^(Failed|BackOff):/m)
  await ready(insitu)
})
