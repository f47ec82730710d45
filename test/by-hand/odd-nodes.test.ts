import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { labels, namespace } from '../../src/api/names.ts'
import { registryUser } from '../integration/fixtures/registry.ts'
import { sketchImage } from '../integration/fixtures/oci-image.ts'
import { restartContainerd } from '../lab/containerd.ts'
import { standInRegistry } from '../lab/layout.ts'
import { waitFor } from '../lab/wait.ts'
import { shiftClocks } from '../e2e/fixtures/clocks.ts'
import { buildctl, ensureInstalled, type Installed, ready, temporary } from '../e2e/fixtures/insitu.ts'
import { type LabRegistry, startLabRegistry } from '../e2e/fixtures/lab-registry.ts'
import { holders } from '../e2e/fixtures/node-images.ts'
import { podSays, podStatus, runPod } from '../e2e/fixtures/pods.ts'
import { gatewayPod, portForward } from '../e2e/fixtures/port-forward.ts'

// npx vitest run --project by-hand test/by-hand/odd-nodes.test.ts

// Three nodes that are not as one would like them: one clock is three hours ahead and one three hours behind, and the third
// node's containerd looks nowhere for registries. Their mirrors serve ordinary images too.

const id = randomBytes(3).toString('hex')
const nodes = ['node1', 'node2', 'node3'] as const
const hours = 3600
const clocks = { node1: 0, node2: 3 * hours, node3: -3 * hours }
const MiB = 1 << 20
let insitu: Installed
let door: Awaited<ReturnType<typeof portForward>>
let open: LabRegistry
let locked: LabRegistry
let setRight: (() => Promise<void>) | undefined
let config: string

beforeAll(async () => {
  insitu = await ensureInstalled(3)
  ;[open, locked] = await Promise.all([
    startLabRegistry(insitu.lab, `open-${id}.test`),
    startLabRegistry(insitu.lab, `locked-${id}.test`, { user: registryUser }),
  ])
  config = (await insitu.lab.exec('node3', ['cat', '/etc/containerd/config.toml'])).stdout
  // Without this old form containerd would take its default directories.
  const mirrors = `[plugins."io.containerd.cri.v1.images".registry.mirrors."docker.io"]\n  endpoint = ["http://${standInRegistry}"]`
  await restartContainerd('node3', config.replace(/config_path = .*/, `config_path = ""\n${mirrors}`))
  await insitu.kubectl(
    ['apply', '-f', '-'],
    JSON.stringify({
      ...{ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'insitu.toml', namespace } },
      data: { 'insitu.toml': '[agent.mirror]\nserve = "all"\n' },
    }),
  )
  setRight = await shiftClocks(insitu, clocks)
  await ready(insitu)
  // Not by way of the node whose containerd is restarted, which carries a port-forward to its pods.
  door = await portForward(insitu.lab, `pod/${(await gatewayPod(insitu, 'node3')).name}`)
})
afterAll(async () => {
  await insitu?.kubectl(['delete', 'deployments,pods,secrets', '-l', `e2e=${id}`, '--wait=false', '--ignore-not-found'])
  await door?.[Symbol.asyncDispose]()
  if (config !== undefined) await restartContainerd('node3', config)
  await insitu?.kubectl(['-n', namespace, 'delete', 'cm', 'insitu.toml', '--ignore-not-found'])
  await setRight?.()
  await Promise.all([open, locked].map((registry) => registry?.[Symbol.asyncDispose]()))
  // The next file finds what it expects.
  if (insitu) await ready(insitu)
})

const image = (name: string, tag = 'v1'): string => `registry.example.test/${id}/${name}:${tag}`

async function build(name: string, says: string, on: string, deliver = 'none') {
  await using context = await temporary()
  const steps = ['FROM busybox', `LABEL name=${name}`, `RUN echo ${says} > /says`]
  await writeFile(
    join(context.path, 'Dockerfile'),
    [...steps, 'CMD ["sh", "-c", "cat /says; sleep 3600"]', ''].join('\n'),
  )
  const opt = { 'insitu.node': on, 'insitu.deliver': deliver }
  return await buildctl({ addr: door.addr, context: context.path, name, opt })
}
const startPod = (name: string, policy: string, node: string, pullSecret?: string): Promise<string> =>
  runPod(insitu, { label: id, image: name, policy, node, restart: 'Always', ...(pullSecret ? { pullSecret } : {}) })
const says = (pod: string): Promise<string> => podSays(insitu, pod, 120_000)
const codes = async (node: string): Promise<string[]> =>
  (await insitu.agents()).get(node)?.report?.findings.map(({ code }) => code) ?? []

describe('a node whose containerd cannot be told of a mirror', () => {
  it('says so, in its report and to a doctor, and has images by delivery', async () => {
    expect(await codes('node3')).toContain('MIRROR_CONFIG_PATH')
    const agent = (await insitu.agents()).get('node3')?.name ?? ''
    const doctor = await insitu.kubectl(['-n', namespace, 'exec', agent, '--', 'insitu', 'doctor'])
    expect(doctor).toMatch(/MIRROR_CONFIG_PATH: .*delivery only\n +fix: set config_path/)
    const name = image('delivered')
    const built = await build(name, 'delivered', 'node1', 'all')
    expect(built.stderr).toContain(`deliver ${name} to node node3`)
    expect([...(await holders(insitu.lab, name)).keys()]).toEqual(nodes)
    expect(await says(await startPod(name, 'Never', 'node3'))).toBe('delivered')
  })

  it('is asked again by itself when its containerd was set right and restarted; what runs there goes on', async () => {
    const [before, after] = [image('before'), image('after')]
    await build(before, 'before', 'node3')
    const pod = await startPod(before, 'Never', 'node3')
    expect(await says(pod)).toBe('before')
    const agent = (await insitu.agents()).get('node3')?.name
    await restartContainerd('node3', config)
    await waitFor(
      'the finding to go',
      async () => !(await codes('node3')).includes('MIRROR_CONFIG_PATH') || undefined,
      {
        timeout: 120_000,
      },
    )
    await ready(insitu)
    expect((await insitu.agents()).get('node3')?.name).toBe(agent)
    expect((await podStatus(insitu, pod)).phase).toBe('Running')
    const pins = await insitu.lab.exec('node3', ['ctr', '-n', 'k8s.io', 'images', 'ls', `name==${before}`])
    expect(pins.stdout).toContain('io.cri-containerd.pinned=pinned')
    await build(after, 'after', 'node1')
    expect(await says(await startPod(after, 'Always', 'node3'))).toBe('after')
  })
})

describe('nodes whose clocks are hours apart', () => {
  it('take part, with certificates that are good by their clocks', async () => {
    for (const [node, seconds] of Object.entries(clocks)) {
      const pod = (await insitu.agents()).get(node)?.name ?? ''
      const { stdout } = await insitu.lab.exec(node, ['date', '+%s'])
      const log = await insitu.kubectl(['-n', namespace, 'logs', pod, '--tail=1'])
      const off = Date.parse((JSON.parse(log) as { time: string }).time) / 1000 - Number(stdout)
      // Its last line may be some minutes old.
      expect(Math.abs(off - seconds), log).toBeLessThan(1800)
    }
  })

  it('agree which build is the newest: the last one, whichever clock it was made by', async () => {
    const name = image('clock')
    for (const node of ['node2', 'node1', 'node3', 'node1']) {
      await build(name, `by-${node}`, node)
      const pods = await Promise.all(nodes.map((on) => startPod(name, 'Always', on)))
      expect(await Promise.all(pods.map((pod) => says(pod)))).toEqual(nodes.map(() => `by-${node}`))
    }
    const log = await insitu.kubectl(['-n', namespace, 'logs', '-l', `${labels.role}=gateway`, '--tail=-1'])
    expect(log).toMatch(/older images were taken off a node|the newest build wins/)
  })
})

describe('an ordinary image, with serve = "all"', () => {
  it('comes from the node that has it if its registry shows it to everybody, and else from the registry', async () => {
    await using directory = await temporary()
    const sketch = () => sketchImage(directory.path, 'any', { layers: [2 * MiB, 30_000] })
    const [free, secret] = [await sketch(), await sketch()]
    const login = `Basic ${Buffer.from(`${registryUser.name}:${registryUser.password}`).toString('base64')}`
    await open.push('team/app', 'v1', free)
    await locked.push('team/app', 'v1', secret, login)
    const auths = { [locked.name]: { username: registryUser.name, password: registryUser.password } }
    await insitu.kubectl(
      ['apply', '-f', '-'],
      JSON.stringify({
        ...{ apiVersion: 'v1', kind: 'Secret', type: 'kubernetes.io/dockerconfigjson' },
        metadata: { name: `pull-${id}`, labels: { e2e: id } },
        stringData: { '.dockerconfigjson': JSON.stringify({ auths }) },
      }),
    )
    const [public_, private_] = [open, locked].map(({ name }) => `${name}/team/app:v1`) as [string, string]
    const arrived = (name: string, node: string) =>
      waitFor(
        `${name} on ${node}`,
        async () => {
          return (await holders(insitu.lab, name)).get(node)
        },
        { timeout: 120_000 },
      )
    await startPod(private_, 'Always', 'node1', `pull-${id}`)
    expect(await arrived(private_, 'node1')).toBe(secret.digest)
    await startPod(public_, 'Always', 'node1')
    expect(await arrived(public_, 'node1')).toBe(free.digest)
    // As containerd of node2 asks; some seconds pass until gateways know what node1 has. A digest, because of a tag the
    // registry says what it is.
    const hosts = await insitu.lab.exec('node2', ['cat', '/etc/containerd/certs.d/_default/hosts.toml'])
    const [, header = '', token = ''] = /^\s+([\w-]+) = "(\w{20,})"$/m.exec(hosts.stdout) ?? []
    const ask = async (registry: string, digest: string): Promise<string> => {
      const url = `http://127.0.0.1:2378/v2/team/app/manifests/${digest}?ns=${registry}`
      const options = ['-s', '-o', '/dev/null', '-w', '%{http_code}', '-H', `${header}: ${token}`]
      const accept = 'Accept: application/vnd.oci.image.manifest.v1+json'
      return (await insitu.lab.exec('node2', ['curl', ...options, '-H', accept, url])).stdout
    }
    await waitFor('node2 to be given it', async () => (await ask(open.name, free.digest)) === '200' || undefined, {
      timeout: 120_000,
    })
    const [before, hidden] = [open.blobBytes(), locked.blobBytes()]
    expect(before).toBeGreaterThan(2 * MiB)
    await startPod(public_, 'Always', 'node2')
    expect(await arrived(public_, 'node2')).toBe(free.digest)
    expect(open.blobBytes()).toBe(before)
    // Without credentials nobody gets the other one, whoever has it.
    for (const reference of ['v1', secret.digest]) expect(await ask(locked.name, reference)).toBe('404')
    const refused = await startPod(private_, 'Always', 'node2')
    await waitFor(
      'the pull to be refused',
      async () => /ErrImagePull|ImagePullBackOff/.test((await podStatus(insitu, refused)).waiting ?? '') || undefined,
      { timeout: 120_000 },
    )
    expect(locked.blobBytes()).toBe(hidden)
    await startPod(private_, 'Always', 'node2', `pull-${id}`)
    expect(await arrived(private_, 'node2')).toBe(secret.digest)
    expect(locked.blobBytes()).toBeGreaterThan(hidden + 2 * MiB)
  })
})
