import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { restartKubelet } from '../lab/kubelet.ts'
import { waitFor } from '../lab/wait.ts'
import { buildctl, ensureInstalled, type Installed, restartAgents, temporary } from './fixtures/insitu.ts'
import { digestOn } from './fixtures/node-images.ts'
import { podEvents, podSays, podStatus, runPod } from './fixtures/pods.ts'
import { portForward } from './fixtures/port-forward.ts'

const id = randomBytes(3).toString('hex')
let insitu: Installed
let door: Awaited<ReturnType<typeof portForward>>

beforeAll(async () => {
  insitu = await ensureInstalled()
  door = await portForward(insitu.lab)
})
afterAll(async () => {
  await insitu?.kubectl(['delete', 'pods', '-l', `e2e=${id}`, '--wait=false', '--ignore-not-found'])
  await door?.[Symbol.asyncDispose]()
})

/** There is no such registry, and its name resolves nowhere. */
const image = (name: string, tag = ':v1'): string => `registry.example.test/${id}/${name}${tag}`

/** Nothing is delivered. */
const build = (name: string, says: string, { seconds = 0, on = 'node1' } = {}) =>
  buildFrom('busybox', name, `sleep ${seconds}; echo ${says} > /says`, on)

async function buildFrom(from: string, name: string, run: string, node: string) {
  await using context = await temporary()
  const steps = [`FROM ${from}`, `RUN ${run}`, 'CMD ["sh", "-c", "cat /says; sleep 3600"]']
  await writeFile(join(context.path, 'Dockerfile'), `${steps.join('\n')}\n`)
  const opt = { 'insitu.node': node, 'insitu.deliver': 'none' }
  return await buildctl({ addr: door.addr, context: context.path, name, opt })
}

const startPod = (name: string, policy: string, node = 'node2'): Promise<string> =>
  runPod(insitu, { label: id, image: name, policy, node, restart: 'Always' })
const says = (pod: string): Promise<string> => podSays(insitu, pod)

/** Messages of the kubelet about a pod. */
const events = (pod: string): Promise<string> => podEvents(insitu, pod)

it('starts pods on another node than the builder’s, with Always and IfNotPresent, by tag, latest, no tag and digest', async () => {
  const built = await build(image('web', ':latest'), 'hello')
  expect(built.stderr).toContain('node node1')
  const digest = await digestOn(insitu.lab, 'node1', image('web', ':latest'))
  const pods = [
    await startPod(image('web', ':latest'), 'Always'),
    await startPod(image('web', ''), 'IfNotPresent'),
    await startPod(image('web', `@${digest}`), 'Always'),
    await startPod(image('web', ':latest'), 'Always', 'node1'),
  ]
  for (const pod of pods) {
    expect(await says(pod)).toBe('hello')
    expect(await events(pod)).not.toMatch(/ErrImagePull|Failed/)
  }
})

it('gives the next pod a rebuilt tag', async () => {
  await build(image('again'), 'one')
  expect(await says(await startPod(image('again'), 'Always'))).toBe('one')
  await build(image('again'), 'two')
  expect(await says(await startPod(image('again'), 'Always'))).toBe('two')
  expect(await says(await startPod(image('again'), 'IfNotPresent'))).toBe('two')
})

it('builds on another node FROM an image that stays on its own, and on the newest of its name', async () => {
  const base = `docker.io/${id}/base:v1`
  await build(base, 'first')
  const app = await buildFrom(`${id}/base:v1`, image('app'), 'echo on $(cat /says) > /says', 'node2')
  expect(app.stderr).toContain('node node2')
  expect(await says(await startPod(image('app'), 'Never'))).toBe('on first')
  // From here on node2 has the name itself.
  expect(await says(await startPod(base, 'IfNotPresent'))).toBe('first')
  await build(base, 'second')
  await buildFrom(`${id}/base:v1`, image('app'), 'echo on $(cat /says) > /says', 'node2')
  expect(await says(await startPod(image('app'), 'Never'))).toBe('on second')
})

interface Lasting {
  readonly seconds: number
  /** Where it is built. */
  readonly on: string
}

/** A build that runs for so many seconds, once it runs. */
async function running(name: string, says: string, lasting: Lasting): Promise<{ ended: Promise<number> }> {
  const ended = build(name, says, lasting).then(() => Date.now())
  // The build has begun for the mirror as soon as a gateway knows its name.
  await waitFor(
    'the build to run',
    async () => (await insitu.lab.exec(lasting.on, ['pgrep', '-f', `sleep ${lasting.seconds}`])).stdout || undefined,
    { timeout: 60_000, interval: 200 },
  )
  return { ended }
}

/** When a pod's container started; the kubelet's times are whole seconds. */
const startOf = async (pod: string, timeout = 30_000): Promise<number> => {
  const path = 'jsonpath={.status.containerStatuses[0].state.running.startedAt}'
  const started = async () => (await insitu.kubectl(['get', 'pod', pod, '-o', path])) || undefined
  return Date.parse(await waitFor(`${pod} to run`, started, { timeout, interval: 100 }))
}

/** What becomes of a pod that is applied while its image is built. `late`: milliseconds from the build's end to its start. */
async function podDuring(name: string, seconds: number): Promise<{ late: number; says: string; events: string }> {
  const { ended } = await running(name, 'at last', { seconds, on: 'node1' })
  const pod = await startPod(name, 'Always')
  const at = await ended
  return { late: (await startOf(pod)) - at, says: await says(pod), events: await events(pod) }
}

it('holds a pod that is applied before its build ends, and starts it when the build is over', async () => {
  const pod = await podDuring(image('held'), 12)
  expect(pod.late).toBeLessThan(2000)
  expect(pod.says).toBe('at last')
  expect(pod.events).not.toMatch(/ErrImagePull|BackOff|Failed/)
})

it('names a pod that was backing off before its build began, and when its kubelet tries again; then it starts', async () => {
  const name = image('early')
  const pod = await startPod(name, 'Always')
  await waitFor(
    'the kubelet to back off',
    async () => (await podStatus(insitu, pod)).waiting === 'ImagePullBackOff' || undefined,
    { timeout: 60_000 },
  )
  const { stderr } = await build(name, 'in the end')
  const said = /pod (\S+) on node (\S+) was already in back-off .*tries again at ([\d:]{8}) UTC/.exec(stderr)
  expect(said?.slice(1, 3)).toEqual([`default/${pod}`, 'node2'])
  expect(await says(pod)).toBe('in the end')
  // The kubelet looks at the pod every ten to fifteen seconds, and the times of both are whole seconds.
  const { startedAt = 0 } = await podStatus(insitu, pod)
  const today = Date.parse(`${new Date().toISOString().slice(0, 11)}${said?.[3]}Z`)
  const due = today > Date.now() ? today - 86_400_000 : today
  expect(startedAt).toBeGreaterThanOrEqual(due - 1000)
})

it('is reachable on the loopback of its node only, and known to containerd while the agent is there', async () => {
  const hosts = await insitu.lab.exec('node2', ['cat', '/etc/containerd/certs.d/_default/hosts.toml'])
  expect(hosts.stdout).toContain('http://127.0.0.1:2378')
  const other = await insitu.lab.exec('node2', ['cat', '/etc/containerd/certs.d/docker.io/hosts.toml'])
  expect(other.stdout).toMatch(/insitu: begin[\s\S]*insitu: end\n\[host/)
  const probe = (address: string) =>
    insitu.lab.exec('node2', ['curl', '-sS', '-m', '3', '-o', '/dev/null', '-w', '%{http_code}', address])
  expect((await probe('http://127.0.0.1:2378/v2/')).stdout).toBe('403')
  await expect(probe(`http://${insitu.lab.nodeIP('node1')}:2378/v2/`)).rejects.toThrow('curl')
})

it('is taken out of a pull’s way: images of the registry come as before', async () => {
  const pod = await startPod('docker.io/library/busybox:latest', 'Always')
  await waitFor('the image to be pulled', async () => (await events(pod)).includes('Started') || undefined, {
    timeout: 60_000,
    interval: 500,
  })
  expect(await events(pod)).not.toMatch(/ErrImagePull|Failed/)
})

describe('with a kubelet that pulls one image at a time, as kubelets do by default', () => {
  const serial = async (settings: { readonly serializeImagePulls?: boolean }): Promise<void> => {
    await Promise.all(['node1', 'node2'].map((node) => restartKubelet(node, settings)))
    // Agents read the setting when they start.
    await restartAgents(insitu)
    await door[Symbol.asyncDispose]()
    door = await portForward(insitu.lab)
  }
  beforeAll(() => serial({ serializeImagePulls: true }))
  afterAll(() => serial({}))

  // These two wait most of their time, each on the kubelet of a node of its own: so they do at once.
  it.concurrent('holds a pod for as long as no other waits for an image', async ({ expect }) => {
    const pod = await podDuring(image('alone'), 26)
    expect(pod.late).toBeLessThan(2000)
    expect(pod.events).not.toMatch(/ErrImagePull|BackOff|Failed/)
  })

  it.concurrent(
    'lets others have theirs, and starts the pod when its build is over all the same',
    async ({ expect }) => {
      const name = image('behind')
      const { ended } = await running(name, 'at last', { seconds: 40, on: 'node2' })
      const held = await startPod(name, 'IfNotPresent', 'node1')
      const other = await startPod('docker.io/library/busybox:latest', 'Always', 'node1')
      await waitFor('the other to be pulled', async () => /Pulled|Started/.test(await events(other)) || undefined, {
        timeout: 25_000,
        interval: 500,
      })
      const at = await ended
      expect((await startOf(held)) - at).toBeLessThan(3000)
      expect(await events(held)).toContain('other pods of this node wait')
    },
  )
})
