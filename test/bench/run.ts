import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { namespace } from '../../src/api/names.ts'
import { run } from '../../src/kernel/process/run.ts'
import { insituImage } from '../lab/images/insitu.ts'
import { pushRegistry, standInRegistry, toolsBin } from '../lab/lab.ts'
import { ensureInstalled, type Installed, temporary } from '../e2e/fixtures/insitu.ts'
import type { BenchOptions } from './main.ts'
import { type Measurement, type Report, summarize } from './report.ts'

const node = 'node1'
const bench = 'insitu-bench'
const peer = 'push + pull'

/** The same Dockerfile for both; the first line of the step changes from run to run, so the step is never cached. */
const cases: readonly { readonly name: string; readonly dockerfile: (nonce: string) => string }[] = [
  {
    name: 'small change',
    dockerfile: (nonce) => `FROM busybox\nRUN echo ${nonce} > /change\nCMD ["sleep", "3600"]\n`,
  },
  {
    name: '300 MB layer',
    dockerfile: (nonce) =>
      `FROM busybox\nRUN echo ${nonce} && head -c 300000000 /dev/urandom > /layer\nCMD ["sleep", "3600"]\n`,
  },
]

interface Subject {
  readonly name: string
  /** Builds and leaves the image where a pod on the node can use it. */
  build(context: string, tag: string): Promise<void>
  image(tag: string): string
}

/**
 * From the start of `buildctl build` to the pod's Running, on the same node of the lab in the same run, in turns:
 * insitu, against a buildkitd with the OCI worker in a pod, push to the lab's registry and a pull by the kubelet.
 */
export async function benchRun({ runs, progress }: BenchOptions): Promise<Report> {
  progress('lab and install')
  const insitu = await ensureInstalled()
  await insitu.kubectl(['delete', 'namespace', bench, '--ignore-not-found'])
  const measurements: Measurement[] = []
  try {
    await allowPlaintext(insitu)
    const subjects = [await ours(insitu), await theirs(insitu)]
    for (const c of cases) {
      const values = new Map<string, number[]>(subjects.map((s) => [s.name, []]))
      // The first round warms base images and caches and is not counted.
      for (let round = 0; round <= runs; round++) {
        for (const subject of subjects) {
          const seconds = await once(insitu, subject, c.dockerfile)
          progress(`${c.name}: ${subject.name} ${round === 0 ? 'warm-up' : `${round}/${runs}`} ${seconds.toFixed(2)} s`)
          if (round > 0) values.get(subject.name)!.push(seconds)
        }
      }
      for (const [subject, v] of values) measurements.push({ case: c.name, subject, unit: 's', values: v })
    }
  } finally {
    progress('cleaning up')
    await insitu.kubectl(['delete', 'namespace', bench, '--ignore-not-found'])
    await insitu.kubectl(['-n', namespace, 'delete', 'configmap', 'insitu.toml', '--ignore-not-found'])
    await insitu.kubectl(['-n', namespace, 'rollout', 'restart', 'deployment/insitu-gateway'])
  }
  return summarize('run', peer, measurements)
}

async function once(insitu: Installed, subject: Subject, dockerfile: (nonce: string) => string): Promise<number> {
  const tag = randomBytes(6).toString('hex')
  await using context = await temporary()
  await writeFile(join(context.path, 'Dockerfile'), dockerfile(tag))
  const started = performance.now()
  await subject.build(context.path, tag)
  const pod = `bench-${tag}`
  await insitu.kubectl([
    ...[
      '-n',
      bench,
      'run',
      pod,
      `--image=${subject.image(tag)}`,
      '--image-pull-policy=IfNotPresent',
      '--restart=Never',
    ],
    `--overrides={"spec":{"nodeName":"${node}","terminationGracePeriodSeconds":0}}`,
  ])
  await insitu.kubectl(['-n', bench, 'wait', 'pod', pod, '--for=jsonpath={.status.phase}=Running', '--timeout=120s'])
  const seconds = (performance.now() - started) / 1000
  await insitu.kubectl(['-n', bench, 'delete', 'pod', pod, '--grace-period=0', '--force'])
  return seconds
}

const build = async (addr: string, context: string, output: string, args: readonly string[] = []): Promise<void> => {
  await run(
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
    { timeout: 300_000 },
  )
}

async function ours(insitu: Installed): Promise<Subject> {
  const pods = JSON.parse(
    await insitu.kubectl(['-n', namespace, 'get', 'pods', '-l', 'insitu.build/role=gateway', '-o', 'json']),
  ) as { items: { metadata: { deletionTimestamp?: string }; status: { podIP?: string } }[] }
  const ip = pods.items.find((p) => p.metadata.deletionTimestamp === undefined)?.status.podIP
  const image = (tag: string): string => `bench.insitu.test/app:${tag}`
  return {
    name: 'insitu',
    image,
    build: (context, tag) =>
      build(`tcp://${ip}:2375`, context, `type=image,name=${image(tag)}`, ['--opt', `insitu.node=${node}`]),
  }
}

/** BuildKit's own way: a privileged pod with the OCI worker, results pushed. */
async function theirs(insitu: Installed): Promise<Subject> {
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
      metadata: { name: 'peer', namespace: bench },
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
  await insitu.kubectl(['-n', bench, 'wait', 'pod/peer', '--for=condition=Ready', '--timeout=120s'])
  const ip = await insitu.kubectl(['-n', bench, 'get', 'pod', 'peer', '-o', 'jsonpath={.status.podIP}'])
  const image = (tag: string): string => `${pushRegistry}/bench/app:${tag}`
  return {
    name: peer,
    image,
    build: (context, tag) => build(`tcp://${ip}:1234`, context, `type=image,name=${image(tag)},push=true`),
  }
}

/** Both daemons are reached the same way, straight at a pod's address, so the door must let this machine in. */
async function allowPlaintext(insitu: Installed): Promise<void> {
  const data = { 'insitu.toml': `[gateway.plaintext]\ncidrs = ["10.77.0.0/24"]\n` }
  await insitu.kubectl(
    ['apply', '-f', '-'],
    JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'insitu.toml', namespace }, data }),
  )
  await insitu.kubectl(['-n', namespace, 'rollout', 'restart', 'deployment/insitu-gateway'])
  await insitu.kubectl(['-n', namespace, 'rollout', 'status', 'deployment/insitu-gateway', '--timeout=180s'])
}
