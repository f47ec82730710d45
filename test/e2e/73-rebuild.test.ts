import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Build } from '../../src/api/builds/builds.ts'
import { image as insituImage, namespace as ours } from '../../src/api/names.ts'
import type { RebuildReport } from '../../src/cli/rebuild/report.ts'
import { run } from '../../src/kernel/process/run.ts'
import { pushRegistry, standInRegistry } from '../lab/layout.ts'
import { waitFor } from '../lab/wait.ts'
import { buildArguments, ensureInstalled, type Installed, repository, temporary } from './fixtures/insitu.ts'
import { shellBlocks } from './fixtures/page.ts'
import { enforce, runToEnd, saysAtEnd } from './fixtures/pods.ts'

const namespace = `rebuild-${randomBytes(3).toString('hex')}`
/** Other content for every run under names of its own: kubelets remember which name they pulled a content under. */
const os = `${pushRegistry}/${namespace}/base/os:1`
let insitu: Installed

const kubectl = (...args: string[]) => insitu.kubectl(['-n', namespace, ...args])
const apply = (text: string) => insitu.kubectl(['-n', namespace, 'apply', '-f', '-'], text)
const forLab = (text: string): string =>
  text
    .replaceAll('registry.example.com/', `${pushRegistry}/${namespace}/`)
    .replaceAll('images.internal/', `images.internal/${namespace}/`)
const example = async (name: string) => forLab(await readFile(join(repository, 'config/examples', name), 'utf8'))

const build = (name: string, dockerfile: string, more: object = {}) =>
  JSON.stringify({
    ...{ apiVersion: 'insitu.build/v1alpha1', kind: 'Build', metadata: { name } },
    spec: { serviceAccountName: 'builder', source: { dockerfile }, ...more },
  })
const get = async (name: string) => JSON.parse(await kubectl('get', 'build', name, '-o', 'json')) as Build
const succeeded = async (...names: string[]): Promise<void> => {
  await kubectl('wait', '--for=condition=Succeeded', ...names.map((name) => `build/${name}`), '--timeout=170s')
}

/** The base is an image that nobody's Build makes: pushed, and its Build taken away. */
async function base(release: string): Promise<void> {
  const name = `base-${release}`
  const output = { names: [os], push: true }
  await apply(build(name, `FROM busybox\nRUN echo ${release} of ${namespace} > /release\n`, { output }))
  await succeeded(name)
  await kubectl('delete', 'build', name)
}

interface Ran extends RebuildReport {
  readonly code: number | undefined
}
async function rebuild(...args: string[]): Promise<Ran> {
  const registry = `${pushRegistry}=http://${pushRegistry}`
  // What the base is built on is asked about, too: nobody's Build makes it any more.
  const hub = `docker.io=http://${standInRegistry}`
  const { stdout, exitCode } = await run(
    join(repository, 'bin/insitu'),
    ['rebuild', '-n', namespace, '--registry', registry, '--registry', hub, '--output', 'json', ...args],
    { env: { KUBECONFIG: insitu.lab.kubeconfig }, allow: [1], timeout: 240_000 },
  )
  return { ...(JSON.parse(stdout) as RebuildReport), code: exitCode }
}
/** A command of the page, for this run's names; what is of the lab alone is added by `rebuild`. */
const ofPage = (command: string | undefined): string[] =>
  forLab(command ?? 'none')
    .replace(/^(insitu rebuild|kubectl) /, '')
    .split(' ')
const levels = ({ images }: RebuildReport) =>
  Object.fromEntries(images.map(({ image, level }) => [image.replace(/^.*\//, ''), level]))

/** Runs an image by its name and gives what it says. */
const runs = (pod: string, image: string) => runToEnd(insitu, namespace, { pod, image, policy: 'Always' })

/** What a report says of images of Builds. */
function ofBuilds({ images }: RebuildReport): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const { of, result } of images) if (of !== undefined) counts[result] = (counts[result] ?? 0) + 1
  return counts
}

const handMade = `images.internal/${namespace}/by-hand:1`
const ofHand = ({ images }: RebuildReport) => images.find(({ image }) => image === handMade)

/** As a developer does it, without a Build. */
async function buildByHand(): Promise<void> {
  await using context = await temporary()
  await writeFile(join(context.path, 'Dockerfile'), `FROM ${os}\nRUN echo by hand > /by-hand\n`)
  const connect = ['connect', '--kubeconfig', insitu.lab.kubeconfig, '--service-account', `${namespace}/builder`]
  const args = buildArguments({ addr: 'unset', context: context.path, name: handMade }).slice(2)
  const directory = join(context.path, 'tls')
  await run(join(repository, 'bin/insitu'), [...connect, '--directory', directory, '--', 'buildctl', ...args], {
    timeout: 170_000,
  })
}

beforeAll(async () => {
  insitu = await ensureInstalled()
  await insitu.kubectl(['create', 'namespace', namespace])
  // Every pod that builds or rebuilds is held to it; only those at the end run as images say.
  await enforce(insitu, namespace, 'restricted')
  await insitu.kubectl(['-n', ours, 'rollout', 'status', 'deployment/insitu-controller', '--timeout=120s'])
  await apply(await example('builds/account.yaml'))
  await apply(await example('rebuild/account.yaml'))
  await base('first')
  const images = (await example('rebuild/images.yaml')).split('\n---\n')
  const which = (...names: string[]) =>
    apply(images.filter((one) => names.some((name) => one.includes(`\n  name: ${name}\n`))).join('\n---\n'))
  await which('runtime', 'service', 'tool')
  await succeeded('runtime', 'tool')
  // What stays on a node is built on where it is.
  const { status } = await get('tool')
  await which('orders', 'payments')
  const report = images.find((one) => one.includes('\n  name: report\n')) ?? ''
  await apply(report.replace('\nspec:\n', `\nspec:\n  node: ${status?.node}\n`))
  for (const i of [1, 2, 3, 4, 5, 6]) {
    const output = { names: [`${pushRegistry}/${namespace}/team/part-${i}:1`], push: true }
    const from = i < 4 ? os : `${pushRegistry}/${namespace}/team/runtime:1`
    await apply(build(`part-${i}`, `FROM ${from}\nRUN echo part ${i} > /part\n`, { output }))
  }
  await buildByHand()
  await succeeded('orders', 'payments', 'report', ...[1, 2, 3, 4, 5, 6].map((i) => `part-${i}`))
})
afterAll(async () => {
  await insitu?.kubectl(['delete', 'namespace', namespace, '--wait=false', '--ignore-not-found'])
})

describe('a base image that changed', () => {
  it('brings every image that is built on it anew, level by level, over the nodes, and pods run them', async () => {
    const before = await rebuild('--changed')
    expect(ofBuilds(before)).toEqual({ current: 11 })
    expect(ofHand(before)).toMatchObject({ result: 'current' })
    await base('second')
    const [, plans, does, runsIt] = ((await shellBlocks('docs/rebuild.md'))[0] ?? '').trim().split('\n')
    expect(ofPage(plans)).toEqual(['--base', os, '--dry-run'])
    const planned = await rebuild(...ofPage(plans))
    const first = { 'runtime:1': 0, 'tool:1': 0, 'part-1:1': 0, 'part-2:1': 0, 'part-3:1': 0 }
    const then = { 'orders:1': 1, 'payments:1': 1, 'report:1': 1, 'part-4:1': 1, 'part-5:1': 1, 'part-6:1': 1 }
    expect(levels(planned)).toEqual({ ...first, ...then })

    const done = await rebuild(...ofPage(does))
    expect(done, JSON.stringify(done)).toMatchObject({ code: 0, counts: { rebuilt: 11, skipped: 1 } })
    expect(Object.keys(done.nodes).length).toBeGreaterThan(1)
    expect(ofBuilds(await rebuild('--changed'))).toEqual({ current: 11 })
    // What nobody made a Build for is behind now, and the report says where it is and how it is built.
    expect(ofHand(done)).toMatchObject({
      ...{ result: 'skipped', nodes: [expect.stringMatching(/^node\d$/)], bases: [{ name: os }] },
      reason: expect.stringMatching(/^built by hand: .*buildctl build /) as string,
    })
    await enforce(insitu, namespace, 'baseline')
    const release = `second of ${namespace}`
    await kubectl(...ofPage(runsIt))
    const said = await Promise.all([
      runs('orders', `${pushRegistry}/${namespace}/team/orders:1`),
      saysAtEnd(insitu, namespace, 'tool'),
      runs('report', `images.internal/${namespace}/report:1`),
    ])
    expect(said).toEqual([`orders, runtime on ${release}`, `tool on ${release}`, `report with tool on ${release}`])
  })

  it('is noticed by the schedule, whose pod has the rights of its example and no others', async () => {
    await enforce(insitu, namespace, 'restricted')
    await base('third')
    const text = await example('rebuild/cronjob.yaml')
    const image = await insitu.kubectl([
      ...['-n', ours, 'get', 'deployment', 'insitu-controller', '-o'],
      'jsonpath={.spec.template.spec.containers[0].image}',
    ])
    expect(image.startsWith(insituImage)).toBe(true)
    await kubectl('label', 'builds', '--all', 'every-night=no')
    await kubectl('label', 'builds', '-l', 'insitu.build/rebuild-of in (tool,report)', 'every-night=yes', '--overwrite')
    await apply(
      text.replace('--parallel=8]', `--selector=every-night=yes, --registry=${pushRegistry}=http://${pushRegistry}]`),
    )
    const [, makesJob] = ((await shellBlocks('docs/rebuild.md'))[1] ?? '').trim().split('\n')
    expect(makesJob).toMatch(/^kubectl create job .* rebuild-now$/)
    await kubectl(...ofPage(makesJob))
    const log = await waitFor(
      'the job to end',
      async () => {
        const status = await kubectl('get', 'job', 'rebuild-now', '-o', 'jsonpath={.status.succeeded}{.status.failed}')
        return status === '' ? undefined : await kubectl('logs', 'job/rebuild-now')
      },
      { timeout: 200_000 },
    )
    expect(log).toContain('2 rebuilt')
    expect(await kubectl('get', 'job', 'rebuild-now', '-o', 'jsonpath={.status.succeeded}')).toBe('1')
    await enforce(insitu, namespace, 'baseline')
    expect(await runs('report-third', `images.internal/${namespace}/report:1`)).toBe(
      `report with tool on third of ${namespace}`,
    )
  })
  it('is reported with what was rebuilt, also for the first time, what failed, and what was left out; one at a time', async () => {
    const team = (name: string) => `${pushRegistry}/${namespace}/team/${name}:1`
    const make = (name: string, dockerfile: string) =>
      apply(build(name, `${dockerfile}\n`, { output: { names: [team(name)], push: true } }))
    await make('fragile', `FROM ${os}\nRUN grep third /release`)
    await make('sound', `FROM ${os}\nRUN touch /sound`)
    await make('never', `FROM ${os}\nRUN grep fourth /release`)
    await succeeded('fragile', 'sound')
    await make('behind', `FROM ${team('fragile')}\nRUN touch /behind`)
    await kubectl('wait', '--for=condition=Succeeded=false', 'build/never', '--timeout=170s')
    // It is built on an image that is there, and the base beside it.
    await Promise.all([succeeded('behind'), base('fourth')])
    await kubectl('label', 'builds', 'fragile', 'sound', 'never', 'behind', 'reported=yes')

    const done = await rebuild('--base', os, '--selector', 'reported=yes', '--parallel', '1')
    expect(done, JSON.stringify(done)).toMatchObject({
      code: 1,
      counts: { rebuilt: 2, failed: 1, skipped: 1 },
      peak: 1,
    })
    expect(Object.fromEntries(done.images.map(({ image, result, reason }) => [image, reason ?? result]))).toEqual({
      [team('sound')]: 'rebuilt',
      [team('never')]: 'rebuilt',
      [team('fragile')]: expect.stringMatching(/exit code: 1/) as string,
      [team('behind')]: `its base ${team('fragile')} was not rebuilt`,
    })
  })
})
