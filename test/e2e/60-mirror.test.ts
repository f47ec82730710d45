import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { waitFor } from '../lab/wait.ts'
import { buildctl, ensureInstalled, type Installed, temporary } from './fixtures/insitu.ts'
import { podSays, runPod } from './fixtures/pods.ts'
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

/** Built on node1; nothing is delivered. */
const build = (name: string, says: string, seconds = 0) =>
  buildFrom('busybox', name, `sleep ${seconds}; echo ${says} > /says`, 'node1')

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
const events = (pod: string): Promise<string> =>
  insitu.kubectl([
    'get',
    'events',
    '--field-selector',
    `involvedObject.name=${pod}`,
    '-o',
    'jsonpath={range .items[*]}{.reason}: {.message}{"\\n"}{end}',
  ])

it('starts pods on another node than the builder’s, with Always and IfNotPresent, by tag, latest, no tag and digest', async () => {
  const built = await build(image('web', ':latest'), 'hello')
  expect(built.stderr).toContain('node node1')
  const list = await insitu.lab.exec('node1', [
    'ctr',
    '-n',
    'k8s.io',
    'images',
    'ls',
    `name==${image('web', ':latest')}`,
  ])
  const digest = /sha256:[0-9a-f]{64}/.exec(list.stdout)?.[0] ?? ''
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

it('holds a pod that is applied before its build ends, and starts it when the build is over', async () => {
  const name = image('held')
  const building = build(name, 'at last', 12).then((result) => ({ result, at: Date.now() }))
  // The build has begun for the mirror as soon as a gateway knows its name.
  await waitFor(
    'the build to run',
    async () => (await insitu.lab.exec('node1', ['pgrep', '-f', 'sleep 12'])).stdout || undefined,
    {
      timeout: 60_000,
      interval: 200,
    },
  )
  const pod = await startPod(name, 'Always')
  const { at } = await building
  const startedAt = await waitFor(
    'the pod to run',
    async () =>
      (await insitu.kubectl([
        'get',
        'pod',
        pod,
        '-o',
        'jsonpath={.status.containerStatuses[0].state.running.startedAt}',
      ])) || undefined,
    { timeout: 30_000, interval: 100 },
  )
  // The kubelet's times are whole seconds.
  expect(Date.parse(startedAt) - at).toBeLessThan(2000)
  expect(await says(pod)).toBe('at last')
  expect(await events(pod)).not.toMatch(/ErrImagePull|BackOff|Failed/)
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
