import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import { namespace } from '../../src/api/names.ts'
import type { Finding } from '../../src/api/node-report.ts'
import { labBuildkitdToml } from '../lab/buildkitd-toml.ts'
import { waitFor } from '../lab/wait.ts'
import {
  applyInstall,
  buildctl,
  configure,
  ensureInstalled,
  type Installed,
  recreateAgents,
  restartAgents,
  temporary,
} from './fixtures/insitu.ts'
import { portForward } from './fixtures/port-forward.ts'

// Each case breaks the install in one way, wants a clear finding and no daemon, and the next one starts from a whole
// install again.
const id = randomBytes(3).toString('hex')
let insitu: Installed

/** Whether a test has changed more than the configuration. */
let patched = false

beforeAll(async () => {
  insitu = await ensureInstalled()
})
/** Agents that wait see a new ConfigMap when their kubelet looks again, a minute or so later: new ones read it at once. */
afterEach(async () => {
  if (patched) await applyInstall(insitu)
  else await configure(insitu, await labBuildkitdToml())
  patched = false
  await restartAgents(insitu)
})

/** Gives every agent a new configuration at once. */
const reconfigure = async (toml: string): Promise<void> => {
  await configure(insitu, toml)
  await recreateAgents(insitu)
}

/** JSON patch of the agents' DaemonSet. */
const patch = async (operations: readonly object[]): Promise<void> => {
  patched = true
  await insitu.kubectl([
    '-n',
    namespace,
    'patch',
    'daemonset',
    'insitu-agent',
    '--type=json',
    '-p',
    JSON.stringify(operations),
  ])
  await recreateAgents(insitu)
}

const fatal = (code: string): Promise<Finding> =>
  waitFor(
    `a finding ${code} on node1`,
    async () => {
      const report = (await insitu.agents()).get('node1')?.report
      const finding = report?.findings.find((f) => f.code === code)
      return report?.ready === false && finding?.severity === 'fatal' ? finding : undefined
    },
    { timeout: 90_000 },
  )

/** No daemon of ours runs on the node and no mount of ours is left there. */
async function nothingHalfInstalled(): Promise<void> {
  const processes = (await insitu.lab.exec('node1', ['ps', '-eo', 'args'])).stdout
  expect(processes).not.toMatch(/buildkitd --/)
  const mounts = (await insitu.lab.exec('node1', ['cat', '/proc/1/mountinfo'])).stdout
  expect(mounts).not.toMatch(/ \/var\/lib\/buildkit\/\S+ /)
}

/** A client is told why, and at once. */
async function buildSays(text: RegExp): Promise<void> {
  await using door = await portForward(insitu.lab)
  await using context = await temporary()
  await writeFile(join(context.path, 'Dockerfile'), 'FROM scratch\nCOPY Dockerfile /\n')
  const build = await buildctl({
    addr: door.addr,
    context: context.path,
    name: `example.test/${id}/x:v1`,
    opt: { 'insitu.node': 'node1' },
    allow: [1],
    timeout: 60_000,
  })
  expect(build.exitCode).toBe(1)
  expect(build.stderr).toMatch(text)
}

describe('what is wrong is said, and nothing is left half-installed', () => {
  it('no ConfigMap at all: the defaults hold', async () => {
    // Without the lab's registries in it, FROM finds only what the node has.
    const pull = ['ctr', '-n', 'k8s.io', 'images', 'pull', '--hosts-dir', '/etc/containerd/certs.d']
    await insitu.lab.exec('node1', [...pull, 'docker.io/library/busybox:latest'])
    await insitu.kubectl(['-n', namespace, 'delete', 'configmap', 'buildkitd.toml'])
    await recreateAgents(insitu)
    await waitFor('node1 to be ready', async () => (await insitu.agents()).get('node1')?.report?.ready || undefined, {
      timeout: 90_000,
    })
    await using door = await portForward(insitu.lab)
    await using context = await temporary()
    await writeFile(join(context.path, 'Dockerfile'), 'FROM busybox\nRUN true\n')
    await buildctl({
      addr: door.addr,
      context: context.path,
      name: `example.test/${id}/defaults:v1`,
      opt: { 'insitu.node': 'node1' },
    })
  })

  it('TOML that does not parse: the line', async () => {
    await reconfigure('[worker.containerd]\n  gc = maybe\n')
    const finding = await fatal('CONFIG_SYNTAX')
    expect(finding.message).toMatch(/buildkitd\.toml.*line 2/)
    await nothingHalfInstalled()
    await buildSays(/node1/)
  })

  it('a key that buildkitd does not know: the line and the nearest key', async () => {
    await reconfigure('[worker.containerd]\n  max-paralelism = 4\n')
    const finding = await fatal('CONFIG_UNKNOWN_KEY')
    expect(`${finding.message} ${finding.fix}`).toMatch(/line 2/)
    expect(`${finding.message} ${finding.fix}`).toContain('max-parallelism')
    await nothingHalfInstalled()
  })

  it('a value that must hold is contradicted: the reason', async () => {
    await reconfigure('[worker.containerd]\n  namespace = "buildkit"\n')
    const finding = await fatal('CONFIG_CONFLICT')
    expect(finding.message).toContain('k8s.io')
    await nothingHalfInstalled()
  })

  it("a snapshotter that is not the kubelet's", async () => {
    await reconfigure('[worker.containerd]\n  snapshotter = "native"\n')
    const finding = await fatal('SNAPSHOTTER_MISMATCH')
    expect(finding.message).toContain('native')
    expect(finding.message).toContain('overlayfs')
    await nothingHalfInstalled()
  })

  it('no containerd socket where it should be', async () => {
    const volumes = JSON.parse(
      await insitu.kubectl([
        '-n',
        namespace,
        'get',
        'daemonset',
        'insitu-agent',
        '-o',
        'jsonpath={.spec.template.spec.volumes}',
      ]),
    ) as { name: string }[]
    const index = volumes.findIndex((v) => v.name === 'containerd-state')
    await patch([
      {
        op: 'replace',
        path: `/spec/template/spec/volumes/${index}`,
        value: { name: 'containerd-state', emptyDir: {} },
      },
    ])
    const finding = await fatal('CONTAINERD_MISSING')
    expect(finding.message).toContain('containerd.sock')
    expect(finding.fix).toBeTruthy()
    await nothingHalfInstalled()
  })

  it('a directory that is not shared with the node', async () => {
    const mounts = JSON.parse(
      await insitu.kubectl([
        ...['-n', namespace, 'get', 'daemonset', 'insitu-agent', '-o'],
        'jsonpath={.spec.template.spec.containers[0].volumeMounts}',
      ]),
    ) as { name: string }[]
    const index = mounts.findIndex((m) => m.name === 'buildkit-root')
    await patch([
      { op: 'replace', path: `/spec/template/spec/containers/0/volumeMounts/${index}/mountPropagation`, value: 'None' },
    ])
    const finding = await fatal('MOUNT_NOT_PROPAGATED')
    expect(finding.message).toContain('/var/lib/buildkit')
    await nothingHalfInstalled()
  })
})
