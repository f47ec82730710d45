import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { apiVersion, type Build } from '../../src/api/builds/builds.ts'
import { pulledByLabel } from '../../src/api/builds/on-pull.ts'
import { namespace as ours } from '../../src/api/names.ts'
import { type GitServers, startGitServers } from '../integration/fixtures/git-servers.ts'
import { net } from '../lab/lab.ts'
import { waitFor } from '../lab/wait.ts'
import { ensureInstalled, type Installed } from './fixtures/insitu.ts'
import { pageShell, shellBlocks } from './fixtures/page.ts'

const namespace = `onpull-${randomBytes(3).toString('hex')}`
let insitu: Installed
let git: GitServers
/** For the commands of the page, with images of names of this run and a git server that is there. */
let shell: Awaited<ReturnType<typeof pageShell>>
let commands: string
let podOfThePage: string

const kubectl = (...args: string[]) => insitu.kubectl(['-n', namespace, ...args])
const apply = (text: string) => insitu.kubectl(['-n', namespace, 'apply', '-f', '-'], text)
const unique = (text: string): string =>
  text
    .replaceAll('images.internal/', `images.internal/${namespace}/`)
    .replace('https://git.example.com/team/app.git', git.daemon('app'))
const image = (name: string): string => `images.internal/${namespace}/${name}`
const get = async (name: string) => JSON.parse(await kubectl('get', 'build', name, '-o', 'json')) as Build
const waiting = (name: string) =>
  waitFor(
    `Build ${name} to have its names`,
    async () => ((await get(name)).status?.pulls === undefined ? undefined : true),
    { timeout: 60_000 },
  )

/** What pulls of a Build have begun. */
async function begun(name: string): Promise<Build[]> {
  const { metadata } = await get(name)
  const list = await kubectl('get', 'builds', '-l', `${pulledByLabel}=${metadata?.uid}`, '-o', 'json')
  return (JSON.parse(list) as { items: Build[] }).items
}

const run = (pod: string, of: string, node: string) => {
  const containers = [{ name: 'main', image: of, imagePullPolicy: 'IfNotPresent' }]
  const spec = { nodeName: node, restartPolicy: 'Never', terminationGracePeriodSeconds: 0, containers }
  return apply(JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata: { name: pod }, spec }))
}

const says = async (pod: string): Promise<string> => {
  await waitFor(
    `pod ${pod} to end`,
    async () => (await kubectl('get', 'pod', pod, '-o', 'jsonpath={.status.phase}')) === 'Succeeded' || undefined,
    { timeout: 150_000 },
  )
  return (await kubectl('logs', pod)).trim()
}

/** Messages about an object. */
const events = (name: string): Promise<string> =>
  kubectl(
    ...['get', 'events', '--field-selector', `involvedObject.name=${name}`, '-o'],
    'jsonpath={range .items[*]}{.reason}: {.message}{"\\n"}{end}',
  )

beforeAll(async () => {
  insitu = await ensureInstalled()
  await insitu.kubectl(['create', 'namespace', namespace])
  await insitu.kubectl(['-n', ours, 'rollout', 'status', 'deployment/insitu-controller', '--timeout=120s'])
  git = await startGitServers(net.host)
  const [block = ''] = await shellBlocks('docs/on-pull.md')
  ;[, commands = '', podOfThePage = ''] = /^([^]*)(kubectl run [^]*)$/.exec(unique(block)) ?? []
  shell = await pageShell(insitu, namespace, 'config/examples/builds', unique)
  await shell.run(commands)
  await Promise.all([waiting('lazy'), waiting('app')])
})
afterAll(async () => {
  await git?.close()
  await shell?.[Symbol.asyncDispose]()
  await insitu?.kubectl(['delete', 'namespace', namespace, '--wait=false', '--ignore-not-found'])
})

it('builds an image when a pod first asks for it, on the node of the pod, which starts without an error', async () => {
  expect(await begun('lazy')).toEqual([])
  expect((await get('lazy')).status).toMatchObject({ phase: 'WaitingForPull' })
  await shell.run(podOfThePage)
  expect(await says('lazy')).toBe('built because somebody asked')
  const pod = JSON.parse(await kubectl('get', 'pod', 'lazy', '-o', 'json')) as { spec: { nodeName: string } }
  const node = pod.spec.nodeName
  expect(await events('lazy')).not.toMatch(/ErrImagePull|ImagePullBackOff/)
  await kubectl('wait', '--for=condition=Succeeded', 'build/lazy', '--timeout=60s')
  expect((await get('lazy')).status).toMatchObject({ phase: 'Succeeded', node, names: [image('lazy:v1')] })
  expect(await events('lazy')).toContain(`node ${node} pulls ${image('lazy:v1')}`)
})

it('is not built again while it is there: the other node gets it from the first', async () => {
  const other = (await get('lazy')).status?.node === 'node1' ? 'node2' : 'node1'
  await run('second', image('lazy:v1'), other)
  expect(await says('second')).toBe('built because somebody asked')
  expect(await begun('lazy')).toHaveLength(1)
})

it('takes the commit from the tag, and is built once for two nodes that ask at the same time', async () => {
  const dockerfile = `FROM busybox\nARG COMMIT\nRUN echo "$COMMIT of ${namespace}" > /of\nCMD ["cat", "/of"]\n`
  const [former] = await git.repository('app', [
    { files: { Dockerfile: dockerfile, text: 'one' } },
    { files: { Dockerfile: 'FROM busybox\nRUN exit 3\n' } },
  ])
  const name = image(`app:git-${former}`)
  await Promise.all([run('here', name, 'node1'), run('there', name, 'node2')])
  expect(await Promise.all([says('here'), says('there')])).toEqual(Array(2).fill(`${former} of ${namespace}`))
  const made = await begun('app')
  expect(made.map(({ spec }) => [spec.source?.git?.revision, spec.output?.names])).toEqual([[former, [name]]])
  const done = await waitFor(
    'its Build to end',
    async () => {
      const [one] = await begun('app')
      return one?.status?.phase === 'Succeeded' ? one : undefined
    },
    { timeout: 60_000 },
  )
  expect(done.status).toMatchObject({ commit: former })
})

it('fails the pull with the reason of the build, and does not build again at each try of the kubelet', async () => {
  const build = {
    apiVersion,
    kind: 'Build',
    metadata: { name: 'broken' },
    spec: {
      trigger: 'OnPull',
      serviceAccountName: 'builder',
      source: { dockerfile: 'FROM busybox\nRUN echo the disk is on fire && exit 3\n' },
      output: { names: [image('broken:v1')] },
    },
  }
  await apply(JSON.stringify(build))
  await waiting('broken')
  await run('unlucky', image('broken:v1'), 'node1')
  const said = await waitFor(
    'the kubelet to say why',
    async () => {
      const text = await events('unlucky')
      return text.includes('exit code: 3') ? text : undefined
    },
    { timeout: 120_000 },
  )
  expect(said).toContain(`the build of ${image('broken:v1')} failed`)
  expect(await events('broken')).toContain('exit code: 3')
  expect((await get('broken')).status).toMatchObject({ phase: 'Failed' })
  // The kubelet tries again after ten seconds, the build only after thirty.
  await waitFor(
    'the kubelet to try again',
    async () => ((await events('unlucky')).includes('Back-off') ? true : undefined),
    { timeout: 60_000 },
  )
  const [first, ...more] = (await begun('broken')).toSorted((a, b) => created(a) - created(b))
  for (const later of more) {
    expect(created(later) - Date.parse(first?.status?.completionTime ?? '')).toBeGreaterThanOrEqual(29_000)
  }
  expect(more.length).toBeLessThanOrEqual(2)
})
const created = ({ metadata }: Build): number => Date.parse(metadata?.creationTimestamp ?? '')

it('says at once what is no commit', async () => {
  await run('main', image('app:git-main'), 'node2')
  const said = await waitFor(
    'the kubelet to say why',
    async () => {
      const text = await events('main')
      return text.includes('is no commit') ? text : undefined
    },
    { timeout: 60_000 },
  )
  expect(said).toContain('"main" is no commit')
})
