import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { render } from '../../agent/buildkitd/render.ts'
import { kubeletDefaults, limitsOf } from '../../agent/disk/limits.ts'
import { agentConfig, defaultAgentConfig } from '../../api/agent-config.ts'
import { clusterGateway, gatewayConfig, transparentGateway } from '../../api/config.ts'
import { controllerConfig, defaultControllerConfig } from '../../api/controller-config.ts'
import { parseToml } from '../../kernel/config/toml.ts'
import { checkBuildkitdToml } from '../cluster/check-toml.ts'
import { manifests } from './manifests.ts'
import { defaultOptions } from './options.ts'

const read = (path: string): string => readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8')

it('config/insitu.toml says what holds without it', () => {
  const table = parseToml(read('config/insitu.toml'), 'insitu.toml')
  // On top of other defaults: a key that the file leaves out would show.
  const other = {
    ...transparentGateway,
    maxBuildDuration: 1,
    plaintext: { loopback: false, namespaces: ['x'], cidrs: ['::1'] },
  }
  expect(gatewayConfig(table, other)).toEqual(clusterGateway)
  expect(agentConfig(table)).toEqual(defaultAgentConfig)
  expect(Object.keys(table['controller'] ?? {})).toEqual(Object.keys(defaultControllerConfig))
  expect(controllerConfig(table)).toEqual(defaultControllerConfig)
})

it('config/insitu.toml shows the agents’ marks as they are beside a kubelet with its defaults', () => {
  const text = read('config/insitu.toml').replace(/^# (?=\w+(Percent|Bytes) = )/gm, '')
  const { disk } = agentConfig(parseToml(text, 'insitu.toml'))
  expect(Object.keys(disk)).toHaveLength(5)
  const total = { bytes: 1000, inodes: 1000 }
  expect(limitsOf(total, kubeletDefaults, disk)).toEqual(limitsOf(total, kubeletDefaults, {}))
})

it('install/buildkitd.toml is accepted by an agent, with every example in it uncommented', async () => {
  const text = read('install/buildkitd.toml')
  await checkBuildkitdToml(text, defaultOptions().paths.buildkitRoot)
  const examples = text.replace(/^(\s*)# (?=\[|[\w-]+ = | {2}[\w-]+ = )/gm, '$1')
  expect(examples).toContain('\n[dns]')
  await checkBuildkitdToml(examples, defaultOptions().paths.buildkitRoot)
})

it('install/buildkitd.toml leaves the cache to insitu’s limits, and temporary files to the root, wherever that is', () => {
  const { toml, tmpdir, findings } = render({
    ...{ user: read('install/buildkitd.toml'), root: '/data/buildkit', socket: '/run/buildkit/buildkitd.sock' },
    ...{ containerdAddress: '/run/containerd/containerd.sock', namespace: 'k8s.io', snapshotter: 'overlayfs' },
    collection: { maxUsedSpace: 800, minFreeSpace: 200 },
  })
  expect(findings).toEqual([])
  expect(tmpdir).toBe('/data/buildkit/local-mnt-src')
  const { worker } = parseToml(toml, 'rendered') as { worker: { containerd: object } }
  expect(worker.containerd).toMatchObject({ maxUsedSpace: '800', minFreeSpace: '200' })
})

it('a gateway’s pod gets the time that it may wait for builds', () => {
  const deployment = manifests(defaultOptions()).find(({ object }) => object.kind === 'Deployment')
  const spec = deployment?.object['spec'] as { template: { spec: { terminationGracePeriodSeconds: number } } }
  expect(spec.template.spec.terminationGracePeriodSeconds).toBeGreaterThan(clusterGateway.maxBuildDuration)
})
