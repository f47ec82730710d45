import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { run } from '../../src/kernel/process/run.ts'
import { ensureLab, type Lab } from '../lab/lab.ts'
import { checkout } from '../lab/layout.ts'
import { down } from '../lab/down.ts'
import { makeImages } from '../lab/images/make.ts'
import { silent } from '../lab/progress.ts'
import { alive, stop, type Tracked } from '../lab/processes.ts'
import { current } from '../lab/lab.ts'
import { status } from '../lab/status.ts'
import { up } from '../lab/up.ts'
import { waitFor } from '../lab/wait.ts'
import { machineSnapshot, type MachineSnapshot } from './machine-snapshot.ts'

/** The life of a lab from nothing to nothing. Every other file of this folder takes the lab as it is, or starts it. */
describe('the lab', () => {
  let before: MachineSnapshot
  let lab: Lab

  beforeAll(async () => {
    await down(silent)
    // Base images are made once for a checkout, from packages; how long that takes is the mirror's affair.
    await makeImages(silent)
    before = await machineSnapshot()
  })

  it('is up with two nodes within a minute', async () => {
    const start = Date.now()
    lab = await ensureLab({ nodes: 2, labels: [{ node: 'node2', value: 'example.test/disk=fast' }] })
    expect(Date.now() - start).toBeLessThan(60_000)
    expect((await status()).healthy).toBe(true)
    const { stdout } = await lab.kubectl(['get', 'nodes', '-l', 'example.test/disk=fast', '-o', 'name'])
    expect(stdout).toBe('node/node2')
  })

  it('does nothing when it is as asked', async () => {
    const processes = current().processes
    const start = Date.now()
    await up({ progress: silent })
    expect(Date.now() - start).toBeLessThan(5000)
    expect(current().processes).toEqual(processes)
  })

  it('runs a pod on each node that reaches the other by its service name, with its own address', async () => {
    for (const [i, node] of lab.nodes.entries()) await lab.kubectl(['apply', '-f', '-'], { input: webServer(node, i) })
    const names = lab.nodes.map((node) => `pod/web-${node}`)
    await lab.kubectl(['wait', '--for=condition=Ready', ...names, '--timeout=60s'], { timeout: 70_000 })
    for (const from of lab.nodes) {
      for (const to of lab.nodes) {
        const address = `http://web-${to}.default.svc.cluster.local/`
        // The rules of kube-proxy may lag behind the pod by a moment.
        const answer = await waitFor(
          `${to} from ${from}`,
          async () => (await lab.kubectl(['exec', `web-${from}`, '--', 'sh', '-c', fetchByName, 'sh', address])).stdout,
          { timeout: 30_000 },
        )
        expect(answer).toBe(`here is ${to}`)
      }
    }
    const { stdout: client } = await lab.kubectl(['get', 'pod', 'web-node1', '-o', 'jsonpath={.status.podIP}'])
    expect((await lab.kubectl(['logs', 'web-node2'])).stdout).toContain(client)
  })

  it('gives nodes namespaces of their own', async () => {
    expect((await lab.exec('node1', ['hostname'])).stdout).toBe('node1')
    await lab.exec('node1', ['touch', '/etc/only-here', '/tmp/only-here'])
    await expect(lab.exec('node2', ['ls', '/etc/only-here'])).rejects.toThrow(/No such file/)
    await expect(readFile('/etc/only-here')).rejects.toThrow(/ENOENT/)
    expect((await lab.exec('node2', ['ip', '-o', '-4', 'addr', 'show', 'eth0'])).stdout).toContain(lab.nodeIP('node2'))
    expect((await lab.exec('node1', ['findmnt', '-no', 'PROPAGATION', '/'])).stdout).toBe('shared')
  })

  it('repairs a node whose kubelet is stopped and whose containerd was killed, and its pods live on', async () => {
    const pids = current().processes
    process.kill(daemon('node1/kubelet').pid, 'SIGSTOP')
    await stop(daemon('node1/containerd'), 0)
    expect((await status()).healthy).toBe(false)

    await up({ progress: silent })

    expect((await status()).healthy).toBe(true)
    expect(alive(pids['node1/containerd'])).toBe(false)
    expect(current().processes['node1/init']).toEqual(pids['node1/init'])
    const exec = await waitFor(
      'exec on the repaired node',
      async () => (await lab.kubectl(['exec', 'web-node1', '--', 'cat', '/tmp/index.html'])).stdout,
      { timeout: 60_000 },
    )
    expect(exec).toBe('here is node1')
    const restarts = 'jsonpath={.status.containerStatuses[0].restartCount}'
    expect((await lab.kubectl(['get', 'pod', 'web-node1', '-o', restarts])).stdout).toBe('0')
  })

  it('makes a node anew that has died, and restarts a dead control plane', async () => {
    await stop(daemon('node2/init'), 0)
    await stop(daemon('etcd'), 0)
    await stop(daemon('kube-scheduler'), 0)

    await up({ progress: silent })

    expect((await status()).healthy).toBe(true)
    await lab.kubectl([
      'run',
      'again',
      '--image=busybox',
      '--restart=Never',
      '--overrides',
      onNode('node2'),
      '--',
      'true',
    ])
    await lab.kubectl(['wait', '--for=jsonpath={.status.phase}=Succeeded', 'pod/again', '--timeout=60s'], {
      timeout: 70_000,
    })
  })

  it('survives an up that was cut off', async () => {
    await stop(daemon('node1/init'), 0)
    const cut = run('timeout', ['-s', 'KILL', '1.5', process.execPath, join(checkout, 'test/lab/main.ts'), 'up'])
    await expect(cut).rejects.toThrow(/timeout/)
    await up({ progress: silent })
    expect((await status()).healthy).toBe(true)
  })

  it('leaves nothing behind', async () => {
    await down(silent)
    // The kernel takes cables and processes away a moment later.
    const after = await waitFor(
      'the machine to be as before',
      async () => {
        const now = await snapshotWithout(before)
        return JSON.stringify(now) === JSON.stringify({ ...before, processes: [] }) ? now : undefined
      },
      { timeout: 60_000 },
    ).catch(() => snapshotWithout(before))
    expect(after).toEqual({ ...before, processes: [] })
  })
})

/** Programs that ran before, for somebody else, may have ended since. */
async function snapshotWithout(before: MachineSnapshot): Promise<MachineSnapshot> {
  const now = await machineSnapshot()
  return { ...now, processes: now.processes.filter((line) => !before.processes.includes(line)) }
}

function daemon(name: string): Tracked {
  const found = current().processes[name]
  if (!found) throw new Error(`the lab has no ${name}`)
  return found
}

// busybox's static wget crashes when it resolves a name; its nslookup does not.
const fetchByName =
  'host=${1#http://}; host=${host%/}; ip=$(nslookup "$host" | sed -n "s/^Address: //p" | tail -n 1); wget -qO- "http://$ip/"'

const onNode = (nodeName: string): string => JSON.stringify({ spec: { nodeName } })

function webServer(nodeName: string, index: number): string {
  const metadata = { name: `web-${nodeName}`, labels: { app: `web-${nodeName}` } }
  const command = `echo -n "here is ${nodeName}" > /tmp/index.html; exec httpd -f -v -p 8080 -h /tmp`
  const readinessProbe = { tcpSocket: { port: 8080 }, periodSeconds: 1 }
  const container = { name: 'web', image: 'busybox:1.36', command: ['sh', '-c', command], readinessProbe }
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'List',
    items: [
      {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata,
        spec: { nodeName, terminationGracePeriodSeconds: 0, containers: [container] },
      },
      {
        apiVersion: 'v1',
        kind: 'Service',
        metadata,
        spec: { clusterIP: `10.96.1.${index + 1}`, selector: metadata.labels, ports: [{ port: 80, targetPort: 8080 }] },
      },
    ],
  })
}
