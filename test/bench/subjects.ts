import { namespace } from '../../src/api/names.ts'
import { run } from '../../src/kernel/process/run.ts'
import { insituImage } from '../lab/images/insitu.ts'
import { pushRegistry, standInRegistry, toolsBin } from '../lab/lab.ts'
import type { Installed } from '../e2e/fixtures/insitu.ts'

/** The namespace of everything a benchmark runs. */
export const bench = 'insitu-bench'
/** BuildKit's own way: an image is pushed to a registry, and nodes pull it. */
export const peer = 'push + pull'

export interface Subject {
  readonly name: string
  /** Builds and leaves the image where a pod can use it. @returns the client's progress. */
  build(context: string, tag: string): Promise<string>
  image(tag: string): string
  /** Takes away what its daemon keeps of builds. */
  readonly clean?: () => Promise<void>
}

export const build = async (
  addr: string,
  context: string,
  output: string,
  args: readonly string[] = [],
): Promise<string> => {
  const { stderr } = await run(
    'buildctl',
    [
      '--addr',
      addr,
      'build',
      '--progress',
      'plain',
      '--frontend',
      'dockerfile.v0',
      '--local',
      `context=${context}`,
      '--local',
      `dockerfile=${context}`,
      '--output',
      output,
      ...args,
    ],
    { timeout: 600_000 },
  )
  return stderr
}

/** Where a gateway can be reached from this machine, once `allowPlaintext` lets it in: `IP:PORT`. */
export async function doorAddress(insitu: Installed): Promise<string> {
  const pods = JSON.parse(
    await insitu.kubectl(['-n', namespace, 'get', 'pods', '-l', 'insitu.build/role=gateway', '-o', 'json']),
  ) as { items: { metadata: { deletionTimestamp?: string }; status: { podIP?: string } }[] }
  return `${pods.items.find((p) => p.metadata.deletionTimestamp === undefined)?.status.podIP}:2375`
}

/** @param name when a benchmark has several. */
export async function ours(
  insitu: Installed,
  options: Readonly<Record<string, string>>,
  name = 'insitu',
): Promise<Subject> {
  const door = await doorAddress(insitu)
  const image = (tag: string): string => `bench.insitu.test/app:${tag}`
  const opts = Object.entries(options).flatMap(([key, value]) => ['--opt', `${key}=${value}`])
  return {
    name,
    image,
    build: (context, tag) => build(`tcp://${door}`, context, `type=image,name=${image(tag)}`, opts),
  }
}

/**
 * BuildKit's own way: a privileged pod with the OCI worker, results pushed.
 * @param name of the pod.
 * @returns with `address`, where it can be reached from this machine: `IP:PORT`.
 */
export async function theirs(
  insitu: Installed,
  node: string,
  name = 'peer',
): Promise<Subject & { readonly address: string }> {
  const config = `[worker.containerd]\n  enabled = false\n[registry."docker.io"]\n  mirrors = ["${standInRegistry}"]\n[registry."${standInRegistry}"]\n  http = true\n[registry."${pushRegistry}"]\n  http = true\n`
  const objects = [
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: bench } },
    {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'peer', namespace: bench },
      data: { 'buildkitd.toml': config },
    },
    {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace: bench },
      spec: {
        nodeName: node,
        terminationGracePeriodSeconds: 1,
        containers: [
          {
            name: 'buildkitd',
            // The same buildkitd as ours; runc needs a C library, which the lab's stand-in for upstream's image lacks.
            image: await insituImage(),
            command: ['buildkitd', '--addr', 'tcp://0.0.0.0:1234', '--config', '/etc/buildkit/buildkitd.toml'],
            env: [{ name: 'PATH', value: '/usr/sbin:/usr/bin:/sbin:/bin:/tools' }],
            securityContext: { privileged: true, runAsUser: 0 },
            readinessProbe: { tcpSocket: { port: 1234 }, periodSeconds: 1 },
            volumeMounts: [
              { name: 'root', mountPath: '/var/lib/buildkit' },
              { name: 'tools', mountPath: '/tools', readOnly: true },
              { name: 'config', mountPath: '/etc/buildkit' },
            ],
          },
        ],
        volumes: [
          { name: 'root', emptyDir: {} },
          { name: 'tools', hostPath: { path: toolsBin } },
          { name: 'config', configMap: { name: 'peer' } },
        ],
      },
    },
  ]
  await insitu.kubectl(['apply', '-f', '-'], JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects }))
  await insitu.kubectl(['-n', bench, 'wait', `pod/${name}`, '--for=condition=Ready', '--timeout=120s'])
  const ip = await insitu.kubectl(['-n', bench, 'get', 'pod', name, '-o', 'jsonpath={.status.podIP}'])
  const image = (tag: string): string => `${pushRegistry}/bench/app:${tag}`
  const address = `${ip}:1234`
  return {
    ...{ name: peer, address, image },
    build: (context, tag) => build(`tcp://${address}`, context, `type=image,name=${image(tag)},push=true`),
    async clean() {
      await run('buildctl', ['--addr', `tcp://${address}`, 'prune'], { timeout: 300_000 })
    },
  }
}

/** Both daemons are reached the same way, straight at a pod's address, so the door must let this machine in. */
export async function allowPlaintext(insitu: Installed): Promise<void> {
  const data = { 'insitu.toml': `[gateway.plaintext]\ncidrs = ["10.77.0.0/24"]\n` }
  await insitu.kubectl(
    ['apply', '-f', '-'],
    JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'insitu.toml', namespace }, data }),
  )
  await insitu.kubectl(['-n', namespace, 'rollout', 'restart', 'deployment/insitu-gateway'])
  await insitu.kubectl(['-n', namespace, 'rollout', 'status', 'deployment/insitu-gateway', '--timeout=180s'])
}

/** Takes away what the benchmark left in the cluster. */
export async function removeBench(insitu: Installed): Promise<void> {
  await insitu.kubectl(['delete', 'namespace', bench, '--ignore-not-found'])
  await insitu.kubectl(['-n', namespace, 'delete', 'configmap', 'insitu.toml', '--ignore-not-found'])
  await insitu.kubectl(['-n', namespace, 'rollout', 'restart', 'deployment/insitu-gateway'])
}
