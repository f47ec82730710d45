import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { ports, secretReader, serviceAccounts, serviceName } from '../../api/names.ts'
import { parseYaml } from '../../kernel/k8s/yaml.ts'
import { kinds } from './build-objects.ts'
import { plaintextToml } from './gateway.ts'
import { manifests } from './manifests.ts'
import { type KubernetesObject, objectName, partOf } from './object.ts'
import { defaultOptions, distributionPaths, type ManifestOptions } from './options.ts'
import { overlay } from './overlay.ts'
import { render } from './render.ts'

const objects = (options: Partial<ManifestOptions> = {}): KubernetesObject[] =>
  manifests({ ...defaultOptions(), ...options }).map((manifest) => manifest.object)

interface PodSpec {
  readonly hostNetwork?: boolean
  readonly hostPID?: boolean
  readonly volumes: readonly { name: string; hostPath?: { path: string; type: string }; [key: string]: unknown }[]
  readonly containers: readonly {
    readonly args: readonly string[]
    readonly env: readonly { name: string; value?: string }[]
    readonly volumeMounts: readonly { name: string; mountPath: string; mountPropagation?: string }[]
    readonly securityContext: Record<string, unknown>
    readonly [key: string]: unknown
  }[]
  readonly tolerations?: readonly unknown[]
  readonly nodeSelector: Record<string, string>
}

function templateOf(kind: string, options: Partial<ManifestOptions> = {}): { metadata: unknown; spec: PodSpec } {
  const workload = objects(options).find((object) => object.kind === kind)
  if (!workload) throw new Error(`no ${kind}`)
  return (workload['spec'] as { template: { metadata: unknown; spec: PodSpec } }).template
}

function podOf(kind: string, options: Partial<ManifestOptions> = {}): PodSpec {
  return templateOf(kind, options).spec
}

const committed = readFileSync(new URL('../../../install/buildkit.yaml', import.meta.url), 'utf8')

describe('install/buildkit.yaml', () => {
  it('is what `insitu install --print` prints', () => {
    expect(committed).toBe(render(manifests(defaultOptions())))
  })

  it.each(['rootless', 'mixed'] as const)('the overlay %s is rendered too (npm run -s render)', (mode) => {
    const file = new URL(`../../../install/overlays/${mode}/buildkit.yaml`, import.meta.url)
    expect(readFileSync(file, 'utf8')).toBe(overlay(mode))
  })

  it('holds the same objects when it is read again', () => {
    expect(parseYaml(committed)).toEqual(objects())
  })

  it('has its kinds also in a file of their own: `insitu install --print-kinds`', () => {
    const text = readFileSync(new URL('../../../install/crds/builds.yaml', import.meta.url), 'utf8')
    expect(text).toBe(render(kinds()))
  })

  it('makes namespace and identities before what needs them', () => {
    const kinds = objects().map((object) => object.kind)
    expect(kinds[0]).toBe('Namespace')
    expect(kinds.lastIndexOf('ServiceAccount')).toBeLessThan(kinds.indexOf('Deployment'))
    expect(kinds.lastIndexOf('ValidatingAdmissionPolicyBinding')).toBeLessThan(kinds.indexOf('DaemonSet'))
  })
})

describe('every object', () => {
  it.each(objects().map((object) => [objectName(object), object]))(
    '%s can be found again by its label',
    (_, object) => {
      expect(object.metadata.labels).toMatchObject(partOf)
    },
  )

  it('is named once', () => {
    const names = objects().map(objectName)
    expect(new Set(names).size).toBe(names.length)
  })

  it('follows the namespace, and nothing of the default one is left', () => {
    expect(render(manifests({ ...defaultOptions(), namespace: 'elsewhere' }))).not.toContain('buildkit-system')
  })
})

describe('options', () => {
  const changes: { readonly [K in keyof ManifestOptions]: Partial<ManifestOptions> } = {
    namespace: { namespace: 'other' },
    image: { image: 'example.com/insitu:1' },
    imagePullSecrets: { imagePullSecrets: ['corp'] },
    replicas: { replicas: 3 },
    mode: { mode: 'rootless' },
    paths: { paths: { ...defaultOptions().paths, buildkitRoot: '/data/buildkit' } },
    allowPlaintext: { allowPlaintext: ['10.0.0.0/8'] },
    agentEnv: { agentEnv: { HTTP_PROXY: 'http://proxy:3128' } },
    tolerations: { tolerations: [{ operator: 'Exists' }] },
    nodeSelector: { nodeSelector: { 'example.com/builds': 'yes' } },
    agentPriorityClass: { agentPriorityClass: 'high' },
    logLevel: { logLevel: 'debug' },
    buildkitdToml: { buildkitdToml: '[log]\nlevel = "debug"\n' },
    present: { present: { buildkitdToml: '[log]\nlevel = "debug"\n' } },
  }

  it.each(Object.entries(changes))('%s changes the objects', (_, change) => {
    expect(objects(change)).not.toEqual(objects())
  })

  it.each(Object.entries(distributionPaths))('%s: its paths are mounted where they are on the node', (_, paths) => {
    const pod = podOf('DaemonSet', { paths: { ...paths, buildkitRoot: '/var/lib/buildkit' } })
    const [container] = pod.containers
    const shared = pod.volumes.filter((volume) => volume.hostPath)
    expect(shared.map((volume) => volume.hostPath?.path)).toEqual(
      expect.arrayContaining([paths.containerdRoot, paths.containerdState, '/run/containerd', '/var/lib/buildkit']),
    )
    for (const volume of shared) {
      const mount = container?.volumeMounts.find((m) => m.name === volume.name)
      expect(mount).toMatchObject({ mountPath: volume.hostPath?.path, mountPropagation: 'Bidirectional' })
    }
    expect(new Set(shared.map((v) => v.hostPath?.path)).size).toBe(shared.length)
  })

  it('tells the agent only what it cannot find by itself', () => {
    expect(podOf('DaemonSet').containers[0]?.args).toEqual(['agent'])
    const paths = { containerdRoot: '/x/root', containerdState: '/x/state', buildkitRoot: '/x/buildkit' }
    expect(podOf('DaemonSet', { paths }).containers[0]?.args).toEqual([
      'agent',
      '--containerd-address',
      '/x/state/containerd.sock',
      '--root',
      '/x/buildkit',
    ])
  })

  it('gateways, agents of both modes and controllers log at the level that is said, and say none by default', () => {
    const argsOf = (logLevel: ManifestOptions['logLevel']) =>
      objects({ mode: 'mixed', logLevel })
        .filter(({ kind }) => kind === 'Deployment' || kind === 'DaemonSet')
        .map((object) => (object['spec'] as { template: { spec: PodSpec } }).template.spec.containers[0]?.args)
    const plain = argsOf('info')
    expect(plain).toHaveLength(4)
    expect(plain.flat()).not.toContain('--log-level')
    expect(argsOf('debug')).toEqual(plain.map((args) => [...(args ?? []), '--log-level', 'debug']))
  })

  it('another configuration makes other pods', () => {
    const annotationsOf = (kind: string, change: Partial<ManifestOptions>) => templateOf(kind, change).metadata
    for (const [kind, one, two] of [
      ['DaemonSet', { buildkitdToml: 'a' }, { buildkitdToml: 'b' }],
      ['Deployment', { allowPlaintext: ['10.0.0.1'] }, { allowPlaintext: ['10.0.0.2'] }],
    ] as const) {
      expect(annotationsOf(kind, one)).not.toEqual(annotationsOf(kind, two))
      expect(annotationsOf(kind, one)).toEqual(annotationsOf(kind, one))
    }
  })

  it('a configuration that is there already makes the same pods as one that is written', () => {
    const template = (kind: string, change: Partial<ManifestOptions>) => templateOf(kind, change)
    for (const mode of ['node', 'rootless'] as const) {
      const [writes, leaves] = [{ buildkitdToml: 'a' }, { present: { buildkitdToml: 'a' } }]
      expect(template('DaemonSet', { mode, ...leaves })).toEqual(template('DaemonSet', { mode, ...writes }))
    }
    const leaves = { present: { insituToml: plaintextToml(['::1']) } }
    expect(template('Deployment', leaves)).toEqual(template('Deployment', { allowPlaintext: ['::1'] }))
  })
})

describe('the pods', () => {
  it('of agents are privileged, in their own network, and never two on a node', () => {
    const pod = podOf('DaemonSet')
    expect(pod.hostNetwork).toBeUndefined()
    expect(pod.hostPID).toBe(true)
    expect(pod.containers[0]?.securityContext['privileged']).toBe(true)
    const spec = objects().find((o) => o.kind === 'DaemonSet')?.['spec'] as Record<string, unknown>
    expect(spec['updateStrategy']).toMatchObject({ rollingUpdate: { maxSurge: 0, maxUnavailable: 1 } })
  })

  it('of agents keep sockets and the configuration of their daemon in memory, for the disk may be full', () => {
    const { volumes, containers } = podOf('DaemonSet')
    const mount = containers[0]?.volumeMounts.find(({ mountPath }) => mountPath === '/run/buildkit')
    expect(mount).not.toHaveProperty('mountPropagation')
    expect(volumes.find(({ name }) => name === mount?.name)?.['emptyDir']).toMatchObject({ medium: 'Memory' })
  })

  it('of gateways have no rights on their node', () => {
    const pod = podOf('Deployment')
    expect(pod.volumes.filter((volume) => volume.hostPath)).toEqual([])
    expect(pod.hostPID).toBeUndefined()
    expect(pod.containers[0]?.securityContext).toEqual({
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
      readOnlyRootFilesystem: true,
      runAsNonRoot: true,
      runAsUser: 65532,
      runAsGroup: 65532,
    })
  })

  it.each(['Deployment', 'DaemonSet'])('of the %s are probed over HTTP, not by running programs', (kind) => {
    const [container] = podOf(kind).containers
    for (const probe of ['startupProbe', 'livenessProbe', 'readinessProbe']) {
      expect(container?.[probe]).toMatchObject({ httpGet: { port: ports.metrics } })
      expect(container?.[probe]).not.toHaveProperty('exec')
    }
  })

  it('start without the ConfigMaps that users may make', () => {
    for (const kind of ['Deployment', 'DaemonSet']) {
      const config = podOf(kind).volumes.find((volume) => volume.name === 'config')
      expect(config?.['configMap']).toMatchObject({ optional: true })
    }
  })
})

describe('the priority of agents', () => {
  const quotas = (agentPriorityClass: string) =>
    objects({ agentPriorityClass })
      .filter((object) => object.kind === 'ResourceQuota')
      .map(
        (object) => (object['spec'] as { scopeSelector: { matchExpressions: unknown } }).scopeSelector.matchExpressions,
      )

  it.each(['system-node-critical', 'system-cluster-critical'])(
    '%s comes with the quota that lets pods have it',
    (name) => {
      expect(quotas(name)).toEqual([[{ scopeName: 'PriorityClass', operator: 'In', values: [name] }]])
    },
  )

  it('that is not one of Kubernetes’ own needs none', () => {
    expect(quotas('builds')).toEqual([])
  })

  it('is permitted before the agents come', () => {
    const kinds = objects().map((object) => object.kind)
    expect(kinds).toContain('ResourceQuota')
    expect(kinds.indexOf('ResourceQuota')).toBeLessThan(kinds.indexOf('ServiceAccount'))
  })
})

describe('the service', () => {
  it('listens on 2375 and 1234, and its selector finds the gateways', () => {
    const service = objects().find((o) => o.kind === 'Service' && o.metadata.name === serviceName)
    const spec = service?.['spec'] as { ports: { port: number }[]; selector: Record<string, string> }
    expect(spec.ports.map((port) => port.port)).toEqual([2375, 1234])
    const deployment = objects().find((o) => o.kind === 'Deployment')?.['spec'] as {
      template: { metadata: { labels: Record<string, string> } }
    }
    expect(deployment.template.metadata.labels).toMatchObject(spec.selector)
  })
})

describe('rights', () => {
  const rules = (kind: string, role: keyof typeof serviceAccounts) =>
    objects().find((o) => o.kind === kind && o.metadata.name === serviceAccounts[role])?.['rules'] as {
      resources: string[]
      resourceNames?: string[]
      verbs: string[]
    }[]

  it('of agents end at their namespace and do not reach a Secret', () => {
    expect(rules('ClusterRole', 'agent')).toBeUndefined()
    expect(rules('Role', 'agent').flatMap((rule) => rule.resources)).not.toContain('secrets')
  })

  it('of controllers reach a Secret only where somebody binds the ClusterRole that is there for it', () => {
    for (const { resources } of rules('ClusterRole', 'controller')) expect(resources).not.toContain('secrets')
    const secrets = objects().filter(
      (o) => o.kind === 'ClusterRole' && JSON.stringify(o['rules']).includes('"secrets"'),
    )
    expect(secrets.map((o) => [o.metadata.name, o['rules']])).toEqual([
      [secretReader, [{ apiGroups: [''], resources: ['secrets'], verbs: ['get'] }]],
    ])
    const bound = objects().filter((o) => JSON.stringify(o['roleRef'] ?? {}).includes(secretReader))
    expect(bound).toEqual([])
  })

  it('nobody may write anything cluster-wide but annotations of pods and Builds', () => {
    const writing = rules('ClusterRole', 'gateway').filter((r) =>
      r.verbs.some((v) => !['get', 'list', 'watch'].includes(v)),
    )
    expect(writing.map((rule) => [rule.resources, rule.verbs])).toEqual([
      [['pods'], ['patch']],
      [['builds'], ['list', 'watch', 'patch']],
      [['tokenreviews'], ['create']],
      [['subjectaccessreviews'], ['create']],
    ])
  })

  it('that an admission policy narrows are narrowed in whatever namespace an overlay puts the accounts into', () => {
    const conditions = objects()
      .filter(({ kind }) => kind === 'ValidatingAdmissionPolicy')
      .flatMap((object) => (object['spec'] as { matchConditions: { expression: string }[] }).matchConditions)
      .map(({ expression }) => expression)
      .filter((expression) => expression.includes('serviceaccount:'))
    expect(conditions).toHaveLength(4)
    for (const condition of conditions) {
      expect(condition).toMatch(
        /^request\.userInfo\.username\.matches\('\^system:serviceaccount:\[\^:\]\+:insitu-\w+\$'\)$/,
      )
    }
  })

  it('Secrets are named', () => {
    for (const rule of rules('Role', 'gateway')) expect(rule.resourceNames).toEqual(['insitu-ca'])
  })
})
