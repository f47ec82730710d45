import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { stop } from '../lab/processes.ts'
import { silent } from '../lab/progress.ts'
import { current } from '../lab/lab.ts'
import { up } from '../lab/up.ts'
import { waitFor } from '../lab/wait.ts'
import { buildctl, ensureInstalled, type Installed, ready, temporary } from './fixtures/insitu.ts'
import { portForward } from './fixtures/port-forward.ts'

const node = 'node2'
const repository = `registry.example.test/${randomBytes(3).toString('hex')}/kept`
const pin = 'io.cri-containerd.pinned'
const kubeletConfig = '/etc/kubernetes/kubelet.json'
let insitu: Installed
let door: Awaited<ReturnType<typeof portForward>>
let original: string
/** Images of the lab's own that are pinned for this test. */
let spared: string[] = []

const ctr = async (...args: string[]): Promise<string> =>
  (await insitu.lab.exec(node, ['ctr', '-n', 'k8s.io', ...args])).stdout
const images = async (): Promise<string[]> =>
  (await ctr('images', 'list', '-q')).split('\n').filter((name) => name !== '')
const builtOnes = async (): Promise<string[]> =>
  (await images()).filter((name) => name.startsWith(`${repository}:`)).sort()
const withPin = async (): Promise<string[]> =>
  (await ctr('images', 'list', `labels."${pin}"==pinned`, '-q'))
    .split('\n')
    .filter((n) => n.startsWith(repository))
    .sort()

async function build(tag: string): Promise<void> {
  await using context = await temporary()
  await writeFile(join(context.path, 'Dockerfile'), `FROM busybox\nRUN echo ${tag} > /tag\n`)
  const opt = { 'insitu.node': node, 'insitu.deliver': 'none' }
  await buildctl({ addr: door.addr, context: context.path, name: `${repository}:${tag}`, opt })
}

/** A kubelet reads its configuration when it starts. It collects images every five minutes, which nothing shortens. */
async function restartKubelet(config: string): Promise<void> {
  await insitu.lab.exec(node, ['sh', '-c', `cat > ${kubeletConfig} <<'EOF'\n${config}\nEOF`])
  const kubelet = current().processes[`${node}/kubelet`]
  if (kubelet) await stop(kubelet, 2000)
  await up({ progress: silent })
}

beforeAll(async () => {
  insitu = await ensureInstalled()
  await ready(insitu)
  door = await portForward(insitu.lab)
  original = (await insitu.lab.exec(node, ['cat', kubeletConfig])).stdout
})
afterAll(async () => {
  await door?.[Symbol.asyncDispose]()
  if (original) await restartKubelet(original)
  for (const name of spared) await ctr('images', 'label', name, `${pin}=`)
})

describe('the kubelet’s image collector', () => {
  it('with thresholds that any disk exceeds takes the oldest build and leaves the newest three', async () => {
    const tags = ['v1', 'v2', 'v3', 'v4']
    for (const tag of tags) await build(tag)
    const kept = tags.slice(1).map((tag) => `${repository}:${tag}`)
    await waitFor('the pins', async () => (await withPin()).join() === kept.join() || undefined, { timeout: 20_000 })
    // What other tests need of this node stays too.
    spared = (await images()).filter((name) => !name.startsWith(repository))
    const pinned = new Set((await ctr('images', 'list', `labels."${pin}"==pinned`, '-q')).split('\n'))
    spared = spared.filter((name) => !pinned.has(name))
    for (const name of spared) await ctr('images', 'label', name, `${pin}=pinned`)
    const low = { imageGCHighThresholdPercent: 2, imageGCLowThresholdPercent: 1, imageMinimumGCAge: '1ms' }
    await restartKubelet(JSON.stringify({ ...(JSON.parse(original) as object), ...low }))
    await waitFor('the kubelet to collect', async () => (await builtOnes()).join() === kept.join() || undefined, {
      timeout: 420_000,
      interval: 2000,
    })
    expect(await withPin()).toEqual(kept)
  }, 600_000)

  it('is followed by the agent: what was built again is pinned again, the fourth one is not', async () => {
    await build('v5')
    const kept = ['v3', 'v4', 'v5'].map((tag) => `${repository}:${tag}`)
    await waitFor('the pins', async () => (await withPin()).join() === kept.join() || undefined, { timeout: 20_000 })
  })
})
