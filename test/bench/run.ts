import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ensureInstalled, type Installed, temporary } from '../e2e/fixtures/insitu.ts'
import type { BenchOptions } from './benches.ts'
import { type Measurement, type Report, summarize } from './report.ts'
import { allowPlaintext, bench, ours, peer, removeBench, type Subject, theirs } from './subjects.ts'

const node = 'node1'

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
    const subjects = [await ours(insitu, { 'insitu.node': node }), await theirs(insitu, node)]
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
    await removeBench(insitu)
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
