import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { labels, namespace } from '../../src/api/names.ts'
import { ensureLab } from '../lab/lab.ts'
import { silent } from '../lab/progress.ts'
import { switchOff, switchOn } from '../lab/reboot.ts'
import { waitFor } from '../lab/wait.ts'
import { startBuild } from './fixtures/background.ts'
import { buildctl, type BuildOptions, ensureInstalled, type Installed, ready, temporary } from './fixtures/insitu.ts'
import { holders as holdersOn } from './fixtures/node-images.ts'
import { podSays, runPod } from './fixtures/pods.ts'
import { gatewayPod, portForward } from './fixtures/port-forward.ts'

const id = randomBytes(3).toString('hex')
const nodes = ['node1', 'node2', 'node3']
let insitu: Installed
/** Puts right what a test has left broken. */
let repair: (() => Promise<unknown>) | undefined
let door: Awaited<ReturnType<typeof portForward>>

beforeAll(async () => {
  insitu = await ensureInstalled(3)
  await ready(insitu)
  door = await portForward(insitu.lab)
})
afterAll(async () => {
  await repair?.()
  await insitu?.kubectl(['delete', 'deployments,pods', '-l', `e2e=${id}`, '--wait=false', '--ignore-not-found'])
  await door?.[Symbol.asyncDispose]()
})

/** There is no such registry: what does not come from a node comes from nowhere. */
const image = (name: string): string => `registry.example.test/${id}/${name}:v1`

/**
 * An image whose pods print `says` and stay; `size`: bytes that do not compress. No two names have the same content: a
 * kubelet that has pulled an image lets a pod use it under another name only after a pull of that name, with policy
 * Never not at all (KubeletEnsureSecretPulledImages).
 */
const dockerfile = (name: string, says: string, size = 0): string =>
  [
    'FROM busybox',
    `LABEL name=${name}`,
    ...(size > 0 ? [`RUN : ${name}; head -c ${size} /dev/urandom > /filler`] : []),
    `RUN echo ${says} > /says`,
    'CMD ["sh", "-c", "cat /says; sleep 3600"]',
    '',
  ].join('\n')

interface Asked extends Partial<BuildOptions> {
  readonly says: string
  readonly size?: number
}

async function build(name: string, { says, size, ...more }: Asked) {
  await using context = await temporary()
  await writeFile(join(context.path, 'Dockerfile'), dockerfile(name, says, size))
  return await buildctl({ addr: door.addr, context: context.path, name, ...more })
}

/** Nodes whose containerd has the name, with its digest. */
const holders = (name: string, on: readonly string[] = nodes) => holdersOn(insitu.lab, name, on)

const startPod = (name: string, node: string, policy: string): Promise<string> =>
  runPod(insitu, { label: id, image: name, policy, node, restart: 'Always' })
const says = (pod: string, timeout?: number): Promise<string> => podSays(insitu, pod, timeout)

const gatewayLog = (): Promise<string> =>
  insitu.kubectl(['-n', namespace, 'logs', '-l', `${labels.role}=gateway`, '--tail=2000', '--prefix'])

describe('a workload on three nodes', () => {
  it('runs on all of them after one build: nobody pulls, there is no registry', async () => {
    const name = image('web')
    const deployment = {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: `web-${id}`, labels: { e2e: id } },
      spec: {
        replicas: 3,
        selector: { matchLabels: { app: `web-${id}` } },
        template: {
          metadata: { labels: { app: `web-${id}`, e2e: id } },
          spec: {
            terminationGracePeriodSeconds: 0,
            topologySpreadConstraints: [
              {
                maxSkew: 1,
                topologyKey: 'kubernetes.io/hostname',
                whenUnsatisfiable: 'DoNotSchedule',
                labelSelector: { matchLabels: { app: `web-${id}` } },
              },
            ],
            containers: [{ name: 'main', image: name, imagePullPolicy: 'Never' }],
          },
        },
      },
    }
    await insitu.kubectl(['apply', '-f', '-'], JSON.stringify(deployment))
    await waitFor(
      'the pods to wait on all nodes',
      async () => {
        const on = await insitu.kubectl([
          ...['get', 'pods', '-l', `app=web-${id}`, '-o'],
          'jsonpath={range .items[*]}{.spec.nodeName}/{.status.containerStatuses[0].state.waiting.reason} {end}',
        ])
        return nodes.every((node) => on.includes(`${node}/ErrImageNeverPull`)) || undefined
      },
      { timeout: 60_000 },
    )
    const built = await build(name, { says: 'one' })
    const builder = /\[insitu\] node (\w+):/.exec(built.stderr)?.[1]
    for (const node of nodes.filter((n) => n !== builder)) {
      expect(built.stderr).toContain(`[insitu] deliver ${name} to node ${node}`)
    }
    expect(new Set((await holders(name)).values()).size).toBe(1)
    expect([...(await holders(name)).keys()]).toEqual(nodes)
    await insitu.kubectl(['rollout', 'status', `deployment/web-${id}`, '--timeout=20s'])
  })

  it.each([
    ['none', ['node2']],
    ['2', ['node2', expect.stringMatching(/^node[13]$/)]],
    ['all', nodes],
  ])('insitu.deliver=%s', async (deliver, expected) => {
    const name = image(`to-${deliver}`)
    await build(name, { says: deliver, opt: { 'insitu.node': 'node2', 'insitu.deliver': deliver } })
    const found = [...(await holders(name)).keys()]
    expect(found).toHaveLength(expected.length)
    expect(found).toEqual(expect.arrayContaining([...expected]))
  })
})

describe('a rebuilt tag', () => {
  it.each(['Always', 'IfNotPresent', 'Never'])(
    'is what the next pod on every node runs, with policy %s',
    async (policy) => {
      const name = image(`again-${policy.toLowerCase()}`)
      const opt = { 'insitu.node': 'node1', 'insitu.deliver': 'all' }
      await build(name, { says: 'old', opt })
      await build(name, { says: 'new', opt: { ...opt, 'insitu.deliver': 'none' } })
      const pods = await Promise.all(nodes.map((node) => startPod(name, node, policy)))
      expect(await Promise.all(pods.map((pod) => says(pod)))).toEqual(['new', 'new', 'new'])
    },
  )
})

describe('when something goes wrong', () => {
  it('a node that is lost in the middle of a delivery is named, the others have it, and it gets it when it is back', async () => {
    const name = image('lost')
    await using context = await temporary()
    await writeFile(join(context.path, 'Dockerfile'), dockerfile(name, 'lost', 60_000_000))
    // Neither the builder nor the gateway that the client is connected to.
    const gateway = await gatewayPod(insitu)
    const [lost, other] = gateway.node === 'node3' ? ['node2', 'node3'] : ['node3', 'node2']
    await using connected = await portForward(insitu.lab, `pod/${gateway.name}`)
    // Slow enough to be in the middle of it for some seconds.
    await ensureLab({ nodes: 3, shape: { rate: 100 } })
    repair = () => ensureLab({ nodes: 3, shape: { rate: 0 } })
    const opt = { 'insitu.node': 'node1', 'insitu.deliver': 'all' }
    const running = startBuild({ addr: connected.addr, context: context.path, name, opt })
    let over = false
    void running.ended.then(() => (over = true))
    const begun = await waitFor(
      `bytes to reach ${lost}`,
      // Of several vertices the plain progress shows one after the other.
      async () => (await receives(lost)) || (over ? running.output() : undefined),
      { timeout: 120_000, interval: 100 },
    )
    expect(begun).toBe(true)
    await switchOff(lost)
    repair = async () => {
      await switchOn(lost, silent)
      await ensureLab({ nodes: 3, shape: { rate: 0 } })
    }
    const { code, output } = await running.ended
    expect(code, output).toBe(0)
    expect(output).toContain('[insitu] delivery is not complete')
    expect(output).toMatch(new RegExp(`${name} is on node node1 and could not be delivered to ${lost} \\(`))
    expect([...(await holders(name, ['node1', other])).keys()]).toEqual(['node1', other].sort())
    await repair()
    repair = undefined
    await ready(insitu)
    // It may have led to the gateway of that node.
    await door[Symbol.asyncDispose]()
    door = await portForward(insitu.lab)
    expect(await says(await startPod(name, lost, 'Never'), 120_000)).toBe('lost')
  })

  it('two agents that claim one name with different images: the newest wins and the log says why', async () => {
    const name = image('claimed')
    await build(name, { says: 'old', opt: { 'insitu.node': 'node2', 'insitu.deliver': 'none' } })
    // Its agent is away while the name is built elsewhere, and claims the old image when it is back.
    const agent = (await insitu.agents()).get('node2')?.name ?? ''
    await insitu.kubectl(['-n', namespace, 'delete', 'pod', agent, '--force', '--grace-period=0'])
    await build(name, { says: 'new', opt: { 'insitu.node': 'node1', 'insitu.deliver': 'none' } })
    await ready(insitu)
    await waitFor('the older copy to go', async () => (await holders(name)).get('node2') === undefined || undefined, {
      timeout: 60_000,
      interval: 1000,
    })
    expect(await says(await startPod(name, 'node2', 'Never'))).toBe('new')
    // Other names have lines like these, too.
    const lines = (await gatewayLog()).split('\n').filter((line) => line.includes(name))
    expect(lines.join('\n')).toMatch(/older images were taken off a node|the newest build wins/)
  })

  it('gateways that are restarted know everything again from the agents', async () => {
    const name = image('remembered')
    await build(name, { says: 'remembered', opt: { 'insitu.node': 'node1', 'insitu.deliver': 'none' } })
    await insitu.kubectl(['-n', namespace, 'rollout', 'restart', 'deployment/insitu-gateway'])
    await insitu.kubectl(['-n', namespace, 'rollout', 'status', 'deployment/insitu-gateway', '--timeout=120s'])
    await door[Symbol.asyncDispose]()
    door = await portForward(insitu.lab)
    const [never, always] = await Promise.all([startPod(name, 'node2', 'Never'), startPod(name, 'node3', 'Always')])
    expect([await says(never), await says(always)]).toEqual(['remembered', 'remembered'])
  })
})

/** Whether a node’s containerd has an ingest under way. */
async function receives(node: string): Promise<boolean> {
  const { stdout } = await insitu.lab.exec(node, ['ctr', '-n', 'k8s.io', 'content', 'active'])
  return stdout.split('\n').some((line) => /layer|sha256/.test(line))
}
