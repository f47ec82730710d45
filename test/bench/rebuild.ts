import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { run } from '../../src/kernel/process/run.ts'
import type { RebuildReport } from '../../src/cli/rebuild/report.ts'
import { ensureInstalled, type Installed, repository } from '../e2e/fixtures/insitu.ts'
import { pushRegistry } from '../lab/layout.ts'
import type { BenchOptions } from './benches.ts'
import { type Report, summarize } from './report.ts'

const namespace = `bench-rebuild-${randomBytes(3).toString('hex')}`
const os = `${pushRegistry}/${namespace}/os:1`
const old = `sha256:${'0'.repeat(64)}`
const name = (i: number): string => `app-${i}`
const imageOf = (i: number): string => `${pushRegistry}/${namespace}/${name(i)}:1`

/**
 * A mass rebuild on the lab: a tenth of the images on the base, three tenths on those, the rest on these, all pushed.
 * What was built before is only written into the status of the Builds; everything that is measured is really built.
 */
export async function benchRebuild({ images, progress, nodes }: BenchOptions): Promise<Report> {
  const insitu = await ensureInstalled(nodes <= 9 ? nodes : 2)
  const kubectl = (args: readonly string[], input?: string) => insitu.kubectl(['-n', namespace, ...args], input)
  try {
    await insitu.kubectl(['create', 'namespace', namespace])
    await insitu.kubectl(['label', 'namespace', namespace, 'pod-security.kubernetes.io/enforce=restricted'])
    await kubectl(['apply', '-f', join(repository, 'config/examples/builds/account.yaml')])
    progress(`the base, and ${images} Builds that were built on another one`)
    await base(insitu)
    await before(insitu, images)
    progress('insitu rebuild')
    const watched = new AbortController()
    const peaks = watchPods(insitu, watched.signal)
    const { stdout, exitCode } = await run(
      join(repository, 'bin/insitu'),
      [
        ...['rebuild', '-n', namespace, '--base', os, '--parallel', '64', '--output', 'json'],
        ...['--registry', `${pushRegistry}=http://${pushRegistry}`],
      ],
      { env: { KUBECONFIG: insitu.lab.kubeconfig }, allow: [1], timeout: 3_600_000 },
    )
    watched.abort(new Error('done'))
    const report = JSON.parse(stdout) as RebuildReport
    progress(`exit code ${exitCode}: ${JSON.stringify(report.counts)}, ${JSON.stringify(report.nodes)}`)
    for (const one of report.images.filter(({ result }) => result === 'failed')) {
      progress(`${one.image}: ${one.reason}`)
    }
    const pods = await peaks
    const where = `${images} images, ${insitu.lab.nodes.length} nodes`
    const row = (what: string, unit: string, value: number) => ({
      ...{ case: `${where}: ${what}`, subject: 'insitu', unit, values: [value] },
    })
    return summarize('rebuild', 'insitu', [
      row('all rebuilt', 's', report.seconds),
      row('rebuilt', 'images', report.counts['rebuilt'] ?? 0),
      row('failed', 'images', report.counts['failed'] ?? 0),
      row('asked for at once, most', 'Builds', report.peak),
      row('pods that ran at once, most', 'pods', pods),
      ...Object.entries(report.nodes).map(([node, number]) => row(`built on ${node}`, 'images', number)),
    ])
  } finally {
    await insitu.kubectl(['delete', 'namespace', namespace, '--wait=false', '--ignore-not-found'])
  }
}

async function base(insitu: Installed): Promise<void> {
  const text = await readFile(join(repository, 'config/examples/builds/inline.yaml'), 'utf8')
  const object = text.replace('images.internal/hello:v1]', `${os}]\n    push: true`)
  await insitu.kubectl(['-n', namespace, 'apply', '-f', '-'], object)
  const wait = ['wait', '--for=condition=Succeeded', 'build/hello', '--timeout=170s']
  await insitu.kubectl(['-n', namespace, ...wait])
  await insitu.kubectl(['-n', namespace, 'delete', 'build', 'hello'])
}

/** Builds as they would be after a first round: they wait for a template that comes when all have ended. */
async function before(insitu: Installed, images: number): Promise<void> {
  const kubectl = (args: readonly string[], input?: string) => insitu.kubectl(['-n', namespace, ...args], input)
  const apiVersion = 'insitu.build/v1alpha1'
  const [one, two] = [Math.ceil(images / 10), Math.ceil((images * 4) / 10)]
  const from = (i: number): string => (i < one ? os : i < two ? imageOf(i % one) : imageOf(one + (i % (two - one))))
  const argumentsOf = (i: number) => [
    { name: 'FROM', value: from(i) },
    { name: 'APP', value: name(i) },
  ]
  const items = Array.from({ length: images }, (_, i) => ({
    ...{ apiVersion, kind: 'Build', metadata: { name: name(i) } },
    spec: { template: { name: 'app', arguments: argumentsOf(i) } },
  }))
  await kubectl(['create', '-f', '-'], JSON.stringify({ apiVersion: 'v1', kind: 'List', items }))
  for (let i = 0; i < images; i++) {
    const bases = [{ name: from(i), digest: old }]
    const ended = { phase: 'Succeeded', digest: old, completionTime: '2026-01-01T00:00:00Z' }
    const status = { ...ended, names: [imageOf(i)], bases }
    const patch = ['patch', 'build', name(i), '--subresource=status', '--type=merge', '-p', JSON.stringify({ status })]
    await kubectl(patch)
  }
  const template = {
    ...{ apiVersion, kind: 'BuildTemplate', metadata: { name: 'app' } },
    spec: {
      parameters: [{ name: 'FROM' }, { name: 'APP' }],
      serviceAccountName: 'builder',
      source: { dockerfile: `FROM \${FROM}\nRUN echo \${APP} of ${namespace} > /\${APP}\n` },
      output: { names: [`${pushRegistry}/${namespace}/\${APP}:1`], push: true },
    },
  }
  await kubectl(['create', '-f', '-'], JSON.stringify(template))
}

/** @returns the most pods that ran at once. */
async function watchPods(insitu: Installed, signal: AbortSignal): Promise<number> {
  let most = 0
  while (!signal.aborted) {
    const list = ['get', 'pods', '--field-selector=status.phase=Running', '-o', 'name']
    const running = await insitu.kubectl(['-n', namespace, ...list]).catch(() => '')
    most = Math.max(most, running.split('\n').filter((line) => line !== '').length)
    await pause(2000, undefined, { signal }).catch(() => undefined)
  }
  return most
}
