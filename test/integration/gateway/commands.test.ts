import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { namespace } from '../../../src/api/names.ts'
import type { KubernetesClient } from '../../../src/kernel/k8s/client.ts'
import { resources } from '../../../src/kernel/k8s/resources.ts'
import { run } from '../../../src/kernel/process/run.ts'
import { startApiServer, type ApiServer } from '../fixtures/apiserver.ts'
import { createCluster, type Cluster } from '../fixtures/cluster.ts'

let server: ApiServer
let client: KubernetesClient
let cluster: Cluster
beforeAll(async () => {
  server = await startApiServer()
  client = await server.client()
  cluster = createCluster(client)
  await cluster.namespace(namespace)
  await cluster.node('n1')
  await cluster.agent('n1')
  await cluster.node('n2')
  const finding = {
    code: 'SNAPSHOTTER_MISMATCH',
    severity: 'fatal',
    message: 'the kubelet uses zfs',
    fix: 'Set it.',
  } as const
  await cluster.agent('n2', { ready: false, state: 'failed', findings: [finding] })
  await cluster.node('n3')
  await cluster.pod('web-1', { node: 'n1', image: 'team/web:v2', waiting: 'ErrImageNeverPull' })
  await client.patch(resources.nodes, { name: 'n1' }, { spec: { unschedulable: true } })
})
afterAll(async () => {
  client?.close()
  await server?.close()
})

const insitu = (...args: string[]) =>
  run(join(import.meta.dirname, '../../../bin/insitu'), [...args, '--kubeconfig', server.kubeconfig], {
    allow: [0, 1, 2],
  })

test('nodes: a line for each node, and what the agents found', async () => {
  const { stdout, exitCode } = await insitu('nodes')
  expect(exitCode).toBe(0)
  const lines = stdout.split('\n').map((line) => line.trimEnd().replace(/ {2,}/g, ' | '))
  expect(lines).toEqual([
    'NODE | READY | STATE | NATIVE | EMULATED | BUILDKIT | CONTAINERD | FINDINGS | REASON',
    'n1 | no | ready | linux/amd64 | - | v0.33.1 | v2.4.2 | 0 | cordoned',
    'n2 | no | failed | linux/amd64 | - | v0.33.1 | v2.4.2 | 1 | agent not ready: reports SNAPSHOTTER_MISMATCH: the kubelet uses zfs',
    'n3 | no | - | linux/amd64 | - | - | - | - | no agent',
    '',
    'n2: fatal: the kubelet uses zfs [SNAPSHOTTER_MISMATCH]',
    ' | fix: Set it.',
  ])
  const json = JSON.parse((await insitu('nodes', '-o', 'json')).stdout) as { nodes: object[] }
  expect(json.nodes[2]).toEqual({
    node: 'n3',
    ready: false,
    reason: 'no agent',
    platform: 'linux/amd64',
    pod: null,
    report: null,
  })
})

test('explain: the decision, and every node with its reason', async () => {
  const { stdout, exitCode } = await insitu('explain', 'team/web:v2')
  expect(exitCode).toBe(0)
  expect(stdout).toContain('docker.io/team/web:v2 would be built on node n1')
  expect(stdout).toContain('rule waiting: pod default/web-1 waits there for docker.io/team/web:v2')
  expect(stdout).toMatch(/^n1 +builds/m)
  expect(stdout).toMatch(/^n2 +rejected .*agent not ready: reports SNAPSHOTTER_MISMATCH/m)
  expect(stdout).toMatch(/^n3 +rejected .*no agent$/m)
})

test('explain -o json, --for and --node', async () => {
  const { stdout } = await insitu('explain', '--for', 'pod/web-1', '-o', 'json')
  expect(JSON.parse(stdout)).toMatchObject({ placement: { rule: 'said', node: 'n1' } })
  const refused = await insitu('explain', 'x', '--node', 'n3')
  expect(refused.exitCode).toBe(1)
  expect(refused.stdout).toContain('insitu.node=n3: no agent runs on node n3')
})

test('explain: a build that no node takes ends with exit code 1', async () => {
  const { stdout, exitCode } = await insitu('explain', 'other')
  expect(exitCode).toBe(1)
  expect(stdout).toContain('0/3 nodes can build: 1 agent not ready, 1 cordoned, 1 no agent')
})

test('explain: what the scheduler would say about pods of a template is the reason', async () => {
  await cluster.deployment('big', 'team/big:v1', { nodeSelector: { disk: 'ssd' } })
  await cluster.node('n4', { labels: { disk: 'ssd' } })
  await cluster.agent('n4')
  await cluster.node('n5')
  await cluster.agent('n5')
  const { stdout } = await insitu('explain', 'team/big:v2')
  expect(stdout).toContain('rule template: Deployment default/big uses docker.io/team/big and may run only there')
  expect(stdout).toMatch(/^n4 +builds/m)
  expect(stdout).toMatch(/^n5 +rejected .*didn't match the workload's node selector$/m)
  const { stdout: json } = await insitu('explain', '--for', 'deploy/big', '--platform', 'linux/amd64', '-o', 'json')
  expect(JSON.parse(json)).toMatchObject({
    placement: { rule: 'said', node: 'n4', targets: ['n4'] },
    nodes: expect.arrayContaining([
      expect.objectContaining({
        node: 'n4',
        verdict: 'builds',
        score: { native: 1, cache: expect.any(Number), running: 0 },
      }),
      expect.objectContaining({ node: 'n5', verdict: 'rejected', reason: "didn't match the workload's node selector" }),
    ]),
  })
})

test('explain: of several platforms, which node builds what, native or emulated, and why', async () => {
  await cluster.node('n6', { arch: 'arm64' })
  const platforms = ['linux/arm64', 'linux/riscv64']
  await cluster.agent('n6', { platforms, nativePlatforms: ['linux/arm64'] })
  const all = 'linux/amd64,linux/arm64,linux/riscv64'
  const { stdout, exitCode } = await insitu('explain', 'team/both:v1', '--platform', all)
  expect(exitCode, stdout).toBe(0)
  expect(stdout).toContain('docker.io/team/both:v1 would be built on several nodes at once')
  expect(stdout).toMatch(/^ {2}node n[45]: linux\/amd64 natively \(rule \w+: /m)
  expect(stdout).toMatch(/^ {2}node n6: linux\/arm64 natively; linux\/riscv64 emulated \(rule \w+: /m)
  expect(stdout).toMatch(/^n6 +builds/m)
  // Nobody does all of them in one piece.
  expect(stdout).toMatch(/as one stream to the client .*: refused, /)
  const one = await insitu('explain', 'team/both:v1', '--platform', 'linux/riscv64', '-o', 'json')
  expect(JSON.parse(one.stdout)).toMatchObject({
    parts: [{ placement: { node: 'n6' }, native: [], emulated: ['linux/riscv64'] }],
  })
  const wrong = await insitu('explain', 'x', '--platform', 'linux/pdp11')
  expect(wrong.stderr).toContain('"linux/pdp11" is not a platform')
})

test('explain: a rootless node builds what is pushed, and nothing that is to stay', async () => {
  await cluster.node('n7')
  await cluster.agent('n7', { mode: 'rootless', platforms: ['linux/s390x'] })
  const stays = await insitu('explain', 'team/web:v3', '--platform', 'linux/s390x')
  expect(stays.exitCode).toBe(1)
  expect(stays.stdout).toMatch(/^n7 +rejected .*cannot keep images: it builds rootless: push the image instead$/m)
  const pushed = await insitu('explain', 'team/web:v3', '--platform', 'linux/s390x', '--push')
  expect(pushed.stdout).toContain('docker.io/team/web:v3 would be built on node n7')
})

test('explain without anything is a usage error', async () => {
  expect(await insitu('explain')).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('--for') as string })
})
