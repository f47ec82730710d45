import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { buildkitdKeys, type Schema } from '../../src/agent/buildkitd/known-keys.ts'
import { render } from '../../src/agent/buildkitd/render.ts'
import { parseToml, type TomlTable } from '../../src/kernel/config/toml.ts'
import { startAgent } from './fixtures/agent.ts'
import { startNode, type TestNode } from './fixtures/containerd.ts'
import { tool } from './fixtures/paths.ts'
import { until } from './fixtures/until.ts'

const program = fileURLToPath(new URL('../../bin/insitu', import.meta.url))

/** Every setting a user may make, with a value that buildkitd accepts. Sizes and durations are large on purpose. */
const everything = `
debug = false
trace = false
insecure-entitlements = ["network.host", "security.insecure"]
proxyNetwork = false
provenanceEnvDir = "/etc/buildkit/provenance.d"
local-mount-source-root = "@ROOT@/tmp"
[log]
  level = "debug"
[grpc]
  debugAddress = "127.0.0.1:6061"
  uid = 0
  gid = 0
  securityDescriptor = ""
[cdi]
  specDirs = ["/etc/cdi"]
  autoAllowed = []
[worker.oci]
  platforms = ["linux/amd64"]
  snapshotter = "overlayfs"
  rootless = false
  noProcessSandbox = false
  userRemapUnsupported = ""
  binary = ""
  proxySnapshotterPath = ""
  defaultCgroupParent = ""
  stargzSnapshotter = { noprefetch = true }
  apparmor-profile = ""
  selinux = false
  max-parallelism = 100000
  gc = true
  gckeepstorage = 100000000000
  reservedSpace = "10%"
  maxUsedSpace = "20GB"
  minFreeSpace = 10000000000
  networkMode = "host"
  cniConfigPath = "/etc/buildkit/cni.json"
  cniBinaryPath = "/opt/cni/bin"
  cniPoolSize = 0
  bridgeName = "buildkit1"
  bridgeSubnet = "10.11.0.0/16"
  labels = { a = "b" }
  [[worker.oci.gcpolicy]]
    all = true
[worker.containerd]
  platforms = ["linux/amd64", "linux/386"]
  apparmor-profile = ""
  selinux = false
  max-parallelism = 100000
  defaultCgroupParent = "/insitu-test"
  gc = true
  gckeepstorage = "10GB"
  reservedSpace = 100000000000
  maxUsedSpace = "20%"
  minFreeSpace = "1.5GiB"
  networkMode = "bridge"
  cniConfigPath = "/etc/buildkit/cni.json"
  cniBinaryPath = "/usr/lib/cni"
  cniPoolSize = 2
  bridgeName = "buildkit9"
  bridgeSubnet = "10.99.0.0/16"
  labels = { where = "here" }
  [worker.containerd.runtime]
    name = "io.containerd.runc.v2"
    path = ""
    options = { SystemdCgroup = false }
  [[worker.containerd.gcpolicy]]
    all = false
    filters = ["type==source.local"]
    keepDuration = 172800
    keepBytes = "512MB"
    reservedSpace = 10000000000
    maxUsedSpace = "50%"
    minFreeSpace = "1GB"
  [[worker.containerd.gcpolicy]]
    all = true
    keepDuration = "1440h"
[registry."docker.io"]
  mirrors = ["mirror.example.test"]
  http = false
  insecure = false
  ca = []
  tlsconfigdir = []
  [[registry."docker.io".keypair]]
    key = "/nowhere/key.pem"
    cert = "/nowhere/cert.pem"
[dns]
  nameservers = ["10.96.0.10"]
  options = ["edns0"]
  searchDomains = ["svc.cluster.local"]
[history]
  maxAge = 172800
  maxEntries = 50000
[frontend."dockerfile.v0"]
  enabled = true
[frontend."gateway.v0"]
  enabled = true
  allowedRepositories = ["docker.io/docker/dockerfile"]
[system]
  platformsCacheMaxAge = "1h"
  maxRegistryConcurrency = 100000
[cache.gha.sign]
  command = ["true"]
[cache.gha.verify]
  required = false
  policy = { timestampThreshold = 1 }
`

let node: TestNode

beforeAll(async () => {
  node = await startNode()
})
afterAll(() => node?.stop())

/** Settings of the schema that a table does not have. */
function absent(schema: Schema, table: unknown, path: string): string[] {
  return Object.entries(schema).flatMap(([key, kind]) => {
    const here = `${path}.${key}`.replace(/^\./, '')
    const value = (table as Record<string, unknown> | undefined)?.[key]
    if (typeof kind === 'object' && 'table' in kind) return absent(kind.table, value, here)
    if (value === undefined) return [here]
    if (typeof kind !== 'object') return []
    const [first] = Object.values(value as TomlTable)
    if ('tables' in kind) return absent(kind.tables, (value as readonly unknown[])[0], here)
    return typeof kind.each === 'object' && 'table' in kind.each ? absent(kind.each.table, first, here) : []
  })
}

describe('the configuration, on the real buildkitd', () => {
  const text = (): string => everything.replaceAll('@ROOT@', node.buildkitRoot)

  it('leaves no setting out of this test but those that are not the user’s', () => {
    expect(absent(buildkitdKeys, parseToml(text(), 'everything'), '').sort()).toEqual(
      [
        ...['cdi.disabled', 'grpc.address', 'grpc.tls.ca', 'grpc.tls.cert', 'grpc.tls.key', 'log.format', 'root'],
        ...['otel.socketPath', 'worker.oci.enabled', 'worker.containerd.address', 'worker.containerd.enabled'],
        ...['worker.containerd.namespace', 'worker.containerd.rootless', 'worker.containerd.snapshotter'],
        // Only in the second and first policy respectively; the containerd worker's policies have all of them.
        ...['filters', 'keepDuration', 'keepBytes', 'reservedSpace', 'maxUsedSpace', 'minFreeSpace'].map(
          (key) => `worker.oci.gcpolicy.${key}`,
        ),
      ].sort(),
    )
  })

  it('starts with every setting, as the agent writes it', async () => {
    const config = join(node.directory, 'everything.toml')
    await writeFile(config, text())
    const agent = startAgent(node, await node.pod(), { config })
    try {
      await agent.ready()
      const workers = await agent.buildctl(['debug', 'workers', '--verbose', '--format', '{{json .}}'])
      expect(workers.stdout).toContain('"where":"here"')
      const [worker] = JSON.parse(workers.stdout) as { gcPolicy: { reservedSpace?: number; keepDuration?: number }[] }[]
      expect(worker?.gcPolicy[0]).toMatchObject({ reservedSpace: 10_000_000_000, keepDuration: 172_800e9 })
      expect(await agent.inside.ok('ip', ['-o', 'link'])).toContain('buildkit9')
      expect((await agent.inside.run('ls', [join(node.buildkitRoot, 'tmp')])).code).toBe(0)
    } finally {
      expect(await agent.stop()).toBe(0)
    }
  })

  // The table of known keys is our own: this shows that buildkitd reads what the table calls a setting.
  it.each(['reservedSpace = "nonsense"', 'keepDuration = "nonsense"'])('buildkitd itself reads %s', async (line) => {
    const table = line.startsWith('keep') ? '[[worker.containerd.gcpolicy]]' : '[worker.containerd]'
    const config = join(node.directory, 'nonsense.toml')
    await writeFile(config, `${table}\n${line}\n`)
    const result = await node.run(tool('buildkitd'), ['--config', config])
    expect(result.code).not.toBe(0)
    expect(result.stderr).toContain('nonsense')
  })

  it('keeps RUN steps off addresses that the pod’s network uses, and says when the file does not', async () => {
    const inside = await node.pod()
    await inside.ok('ip', ['link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'elsewhere'])
    await inside.ok('ip', ['address', 'add', '10.10.3.7/24', 'dev', 'eth0'])
    await inside.ok('ip', ['link', 'set', 'eth0', 'up'])
    const look = async (config: string): Promise<{ routes: string; findings: string }> => {
      const agent = startAgent(node, inside, { config })
      try {
        await agent.ready()
        const doctor = ['doctor', '--root', node.buildkitRoot, '--config', config]
        return { routes: await inside.ok('ip', ['route']), findings: (await inside.run(program, doctor)).stdout }
      } finally {
        expect(await agent.stop()).toBe(0)
      }
    }
    const chosen = await look(join(node.directory, 'none.toml'))
    // Which of them is free depends on the name server of the machine, too.
    expect(chosen.routes).toMatch(/^(172\.29\.0\.0\/16|192\.168\.224\.0\/19|100\.126\.0\.0\/16) dev buildkit0 /m)
    expect(chosen.routes).not.toMatch(/^10\.10\.0\.0\/16/m)
    expect(chosen.findings).not.toContain('BRIDGE_SUBNET')
    const config = join(node.directory, 'subnet.toml')
    await writeFile(config, '[worker.containerd]\nbridgeSubnet = "10.10.0.0/16"\n')
    const asked = await look(config)
    expect(asked.routes).toMatch(/^10\.10\.0\.0\/16 dev buildkit0 /m)
    expect(asked.findings).toMatch(/BRIDGE_SUBNET.*10\.10\.3\.[07]/)
    expect(asked.findings).not.toContain('BRIDGE_IPV6_ONLY')
    await inside.ok('ip', ['link', 'set', 'elsewhere', 'up'])
    await inside.ok('ip', ['-6', 'address', 'add', 'fd00:1::7/64', 'dev', 'eth0', 'nodad'])
    await inside.ok('ip', ['-6', 'route', 'add', 'default', 'via', 'fd00:1::1', 'dev', 'eth0'])
    expect((await look(config)).findings).toContain('BRIDGE_IPV6_ONLY')
  })

  it('keeps networks at hand for RUN steps, as many as the file says', async () => {
    const config = join(node.directory, 'pool.toml')
    const directory = join(node.buildkitRoot, 'net/cni')
    for (const [text, count] of [
      ['', 1],
      ['[worker.containerd]\ncniPoolSize = 3\n', 3],
    ] as const) {
      await writeFile(config, text)
      const agent = startAgent(node, await node.pod(), { config })
      try {
        await agent.ready()
        await until(`${count} network namespaces`, async () => (await readdir(directory)).length === count)
      } finally {
        expect(await agent.stop()).toBe(0)
      }
    }
  })

  it('uses the node’s network when the file says so', async () => {
    const config = join(node.directory, 'host.toml')
    await writeFile(config, '[worker.containerd]\nnetworkMode = "host"\n')
    const rendered = render({
      user: '[worker.containerd]\nnetworkMode = "host"\n',
      ...{ root: '/r', socket: '/s', containerdAddress: '/c', namespace: 'k8s.io', snapshotter: 'overlayfs' },
    })
    expect(rendered.network).toBe('host')
    const agent = startAgent(node, await node.pod(), { config })
    try {
      await agent.ready()
      expect(await agent.inside.ok('ip', ['-o', 'link'])).not.toContain('buildkit0')
      await until('the worker to say so', async () =>
        (await agent.buildctl(['debug', 'workers', '--verbose'])).stdout.includes('network:'),
      )
    } finally {
      expect(await agent.stop()).toBe(0)
    }
  })
})
