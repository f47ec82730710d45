import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ensureInstalled, type Installed, temporary } from '../e2e/fixtures/insitu.ts'
import { controlNetns } from '../lab/layout.ts'
import { ensureLab } from '../lab/lab.ts'
import { netnsRun } from '../lab/network.ts'
import type { BenchOptions } from './benches.ts'
import { forgetImages, needSpace } from './deliver-disk.ts'
import { watchProcessors } from './processors.ts'
import { link, rootBucket } from './link.ts'
import { type Measurement, type Report, summarize } from './report.ts'
import { watchSent } from './sent.ts'
import { spegelBaseline, spegelLines } from './spegel.ts'
import { watchStarts } from './starts.ts'
import { allowPlaintext, bench, ours, peer, removeBench, type Subject, theirs } from './subjects.ts'

const nodes = ['node1', 'node2', 'node3'] as const
const builder = 'node1'
const alone = 'pod start alone'
/** The nodes have the image before the client is told; else they take it from the builder when a pod is there. */
const delivered = 'insitu, deliver=all'
/** The pods are there before the build begins. */
const podsFirst = 'insitu, pods first'
/** Milliseconds after which a size gets no further round, so that a slow machine gives fewer numbers and not none. */
const patience = 600_000

/**
 * `start`: from the end of a build to the pod's Running on the builder, for a pod that waits, against the start of the
 * same pod when its image is there. `spread`: one build and three nodes, against push + pull by each, until the last node's
 * containerd has started the container. Nodes whose pods come after the build take the image from the builder themselves,
 * unless the build was told to deliver it; pods that come first wait for it.
 */
export async function benchDeliver({ runs, size, only, progress }: BenchOptions): Promise<Report> {
  progress('lab with three nodes, and install')
  await ensureLab({ nodes: nodes.length })
  const insitu = await ensureInstalled(nodes.length)
  await insitu.kubectl(['delete', 'namespace', bench, '--ignore-not-found'])
  const wants = (part: string): boolean => only.length === 0 || only.includes(part)
  const measurements: Measurement[] = []
  try {
    await allowPlaintext(insitu)
    await insitu.kubectl(['create', 'namespace', bench])
    if (wants('start')) {
      for (const mb of new Set([10, size])) measurements.push(...(await measureStart(insitu, mb, runs, progress)))
    }
    if (wants('spread')) {
      await shape(link)
      for (const mb of [10, 100, size].filter((mb, i, all) => all.indexOf(mb) === i && mb <= size)) {
        // A step costs a worker that runs it in the node's containerd more than one with its own runc, which an image as
        // small as this shows and a larger one does not.
        const kinds = mb === 10 ? (['COPY', 'RUN'] as const) : (['RUN'] as const)
        for (const layers of kinds) measurements.push(...(await measureSpread(insitu, mb, layers, runs, progress)))
        measurements.push(...spegelLines(mb))
      }
    }
  } finally {
    progress('cleaning up')
    if (wants('spread')) await shape(0)
    await removeBench(insitu)
  }
  return summarize('deliver', referenceOf, measurements)
}

function referenceOf(name: string): string {
  if (name.startsWith('Spegel')) return spegelBaseline
  if (name.includes('start')) return alone
  return name.includes('link') ? delivered : peer
}

type Say = BenchOptions['progress']

async function measureStart(insitu: Installed, mb: number, runs: number, progress: Say): Promise<Measurement[]> {
  const subject = await ours(insitu, { 'insitu.node': builder, 'insitu.deliver': 'none' })
  const [here, waited, bytes]: [number[], number[], number[]] = [[], [], []]
  const until = performance.now() + patience
  for (let round = 0; round <= runs && (round < 2 || performance.now() < until); round++) {
    await needSpace(6e6 * mb)
    const tag = randomBytes(6).toString('hex')
    const image = subject.image(tag)
    const [waiting = ''] = await createPods(insitu, image, [builder], 'Never')
    await insitu.kubectl([
      ...['-n', bench, 'wait', 'pod', waiting, '--timeout=120s'],
      '--for=jsonpath={.status.containerStatuses[0].state.waiting.reason}=ErrImageNeverPull',
    ])
    const running = runningAt(insitu, [waiting])
    const before = await received(insitu, builder)
    await buildSize(subject, mb, tag)
    const ended = performance.now()
    const seconds = ((await running) - ended) / 1000
    const moved = (await received(insitu, builder)) - before
    const begun = performance.now()
    const [second = ''] = await createPods(insitu, image, [builder], 'Never')
    const own = ((await runningAt(insitu, [second])) - begun) / 1000
    progress(`${mb} MB: build end to Running ${seconds.toFixed(2)} s, pod start alone ${own.toFixed(2)} s`)
    if (round > 0) {
      here.push(own)
      waited.push(seconds)
      bytes.push(moved / 1e6)
    }
    await removePods(insitu)
    await forgetImages(insitu, [subject], [tag])
  }
  const name = `start, ${mb} MB`
  return [
    { case: name, subject: alone, unit: 's', values: here },
    { case: name, subject: 'build end → Running', unit: 's', values: waited },
    { case: `start, ${mb} MB, received by the node`, subject: alone, unit: 'MB', values: bytes },
  ]
}

/** Percent, while an image was delivered. */
interface LinkUse {
  /** Of the builder's link, until the last node has unpacked the last layer, for which nothing travels any more. */
  readonly whole: number
  /** Of the builder's link, as long as it sends. */
  readonly sending: number
  /** All nodes share the processors here: when these have no time left, neither link nor disk is the limit. */
  readonly processors: number
}

async function measureSpread(
  insitu: Installed,
  mb: number,
  layers: Layers,
  runs: number,
  progress: Say,
): Promise<Measurement[]> {
  const name = `three nodes, ${mb} MB, layers of ${layers}`
  const subjects = [
    await ours(insitu, { 'insitu.node': builder }),
    await ours(insitu, { 'insitu.node': builder }, podsFirst),
    await ours(insitu, { 'insitu.node': builder, 'insitu.deliver': 'all' }, delivered),
    await theirs(insitu, builder),
  ]
  const values = new Map<string, number[]>(subjects.map((s) => [s.name, []]))
  const uses: LinkUse[] = []
  const processors = await watchProcessors()
  const starts = await watchStarts(nodes)
  const sent = await watchSent(builder)
  const until = performance.now() + patience
  for (let round = 0; round <= runs && (round < 2 || performance.now() < until); round++) {
    for (const subject of subjects) {
      await needSpace(10e6 * mb)
      const tag = randomBytes(6).toString('hex')
      const create = (): Promise<string[]> => createPods(insitu, subject.image(tag), nodes, 'IfNotPresent')
      const early = subject.name === podsFirst ? await create() : undefined
      const begun = performance.now()
      const said = await buildSize(subject, mb, tag, layers)
      const built = performance.now()
      const pods = early ?? (await create())
      await runningAt(insitu, pods)
      const last = await starts.last(await containersOf(insitu, pods))
      const seconds = (last - begun) / 1000
      const delivery = longestDelivery(said)
      const span = [built - (delivery ?? 0) * 1000, built] as const
      const use: LinkUse | false = delivery !== undefined && {
        whole: ((nodes.length - 1) * mb * 8 * 100) / (delivery * link),
        sending: sent.share(...span),
        processors: processors.busy(...span),
      }
      const detail = use
        ? `, delivery ${delivery} s, ${use.whole.toFixed(0)} % of the builder's link, ${use.sending.toFixed(0)} % while it sends, processors ${use.processors.toFixed(0)} % busy`
        : ''
      progress(
        `${mb} MB, ${layers}: ${subject.name} ${seconds.toFixed(2)} s, ${((last - built) / 1000).toFixed(2)} s of it after the build${detail}`,
      )
      await removePods(insitu)
      await forgetImages(insitu, subjects, [tag])
      if (round === 0) continue
      values.get(subject.name)?.push(seconds)
      if (use) uses.push(use)
    }
  }
  processors.stop()
  await starts.stop()
  await sent.stop()
  const rows: Measurement[] = [...values].map(([subject, v]) => ({
    ...{ case: name, unit: 's', values: v, subject },
  }))
  if (uses.length > 0) {
    const row = (what: string, pick: (use: LinkUse) => number): Measurement => ({
      ...{ case: `${name}, ${what}`, subject: delivered, unit: '%', values: uses.map(pick) },
    })
    rows.push(
      row("builder's link", (use) => use.whole),
      row("builder's link, while it sends", (use) => use.sending),
      row('processors while its link is used', (use) => use.processors),
    )
  }
  return rows
}

/** Seconds of the longest step that delivered, from the client's plain progress. */
function longestDelivery(output: string): number | undefined {
  const steps = new Set([...output.matchAll(/^#(\d+) \[insitu\] deliver /gm)].map((m) => m[1]))
  const done = [...output.matchAll(/^#(\d+) DONE ([\d.]+)s/gm)].filter((m) => steps.has(m[1]))
  return done.length === 0 ? undefined : Math.max(...done.map((m) => Number(m[2])))
}

/** What makes the layers: files of the client's, or steps that run. */
type Layers = 'COPY' | 'RUN'

/** Four layers of random bytes, which neither compress nor are cached. */
async function buildSize(subject: Subject, mb: number, tag: string, layers: Layers = 'RUN'): Promise<string> {
  await using context = await temporary()
  const bytes = (mb * 1e6) / 4
  const lines: string[] = []
  for (const i of [1, 2, 3, 4]) {
    if (layers === 'COPY') await writeFile(join(context.path, `layer${i}`), randomBytes(bytes))
    lines.push(
      layers === 'COPY' ? `COPY layer${i} /\n` : `RUN echo ${tag} && head -c ${bytes} /dev/urandom > /layer${i}\n`,
    )
  }
  await writeFile(join(context.path, 'Dockerfile'), `FROM busybox\n${lines.join('')}CMD ["sleep", "3600"]\n`)
  return await subject.build(context.path, tag)
}

/** A pod on each node, all with one request. @returns their names. */
async function createPods(
  insitu: Installed,
  image: string,
  on: readonly string[],
  imagePullPolicy: string,
): Promise<string[]> {
  const items = on.map((nodeName) => ({
    ...{ apiVersion: 'v1', kind: 'Pod' },
    metadata: { name: `bench-${randomBytes(6).toString('hex')}`, namespace: bench },
    spec: {
      ...{ nodeName, restartPolicy: 'Never', terminationGracePeriodSeconds: 0 },
      containers: [{ name: 'main', image, imagePullPolicy }],
    },
  }))
  await insitu.kubectl(['apply', '-f', '-'], JSON.stringify({ apiVersion: 'v1', kind: 'List', items }))
  return items.map(({ metadata }) => metadata.name)
}

/** When the pods were Running, as `performance.now()` counts. */
async function runningAt(insitu: Installed, pods: readonly string[]): Promise<number> {
  await insitu.lab.kubectl(
    ['-n', bench, 'wait', 'pod', ...pods, '--for=jsonpath={.status.phase}=Running', '--timeout=600s'],
    { timeout: 600_000 },
  )
  return performance.now()
}

/** What their containerd calls the pods' containers. */
async function containersOf(insitu: Installed, pods: readonly string[]): Promise<string[]> {
  const path = '{range .items[*]}{.status.containerStatuses[0].containerID}{"\\n"}{end}'
  const ids = await insitu.kubectl(['-n', bench, 'get', 'pods', ...pods, '-o', `jsonpath=${path}`])
  return ids
    .trim()
    .split('\n')
    .map((id) => id.replace('containerd://', ''))
}

const removePods = (insitu: Installed): Promise<string> =>
  insitu.kubectl(['-n', bench, 'delete', 'pods', '--field-selector=metadata.name!=peer', '--grace-period=0', '--force'])

/** Bytes that a node's link has received. */
async function received(insitu: Installed, node: string): Promise<number> {
  const { stdout } = await insitu.lab.exec(node, ['cat', '/proc/net/dev'])
  const line = stdout.split('\n').find((l) => l.trim().startsWith('eth0:')) ?? ''
  return Number(line.trim().split(/[:\s]+/)[1])
}

/** Links between the nodes, and what the registries send; 0 takes the limits away. */
async function shape(rate: number): Promise<void> {
  await ensureLab({ nodes: nodes.length, shape: { rate } })
  const tc = netnsRun(controlNetns)
  const { stdout } = await tc('tc', ['qdisc', 'show', 'dev', 'eth0', 'root'])
  if (stdout.includes('tbf')) await tc('tc', ['qdisc', 'del', 'dev', 'eth0', 'root'])
  if (rate > 0) await tc('tc', ['qdisc', 'add', 'dev', 'eth0', ...rootBucket(rate)])
}
