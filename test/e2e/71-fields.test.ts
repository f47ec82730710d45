import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { apiVersion, type Build } from '../../src/api/builds/builds.ts'
import { run } from '../../src/kernel/process/run.ts'
import { lfsRefused, makeRepositories, otherHostKey } from '../integration/builds/repositories.ts'
import { nonsense, sensible } from '../integration/builds/specs.ts'
import { type GitServers, startGitServers } from '../integration/fixtures/git-servers.ts'
import { makeSshKey } from '../integration/fixtures/ssh-key.ts'
import { net, toolsBin } from '../lab/lab.ts'
import { pushRegistry } from '../lab/layout.ts'
import { waitFor } from '../lab/wait.ts'
import { type BuildFiles, md5, serveFiles } from './fixtures/build-files.ts'
import { type BuildsNamespace, buildObject, condition, openBuilds } from './fixtures/builds.ts'
import { ensureInstalled, type Installed, ready } from './fixtures/insitu.ts'
import { enforce, runToEnd } from './fixtures/pods.ts'

const id = randomBytes(3).toString('hex')
const namespace = `fields-${id}`
const token = randomBytes(12).toString('hex')
const pushed = (name: string): string => `${pushRegistry}/${namespace}/${name}:1`
const native = `linux/${process.arch === 'x64' ? 'amd64' : process.arch}`
let insitu: Installed
let here: BuildsNamespace
let git: GitServers
let commits: string[]
let files: BuildFiles

const dockerfile = [
  ...['FROM busybox AS base', 'FROM base AS wanted', 'ARG WHO=nobody', 'ARG TARGETPLATFORM'],
  // A secret is no part of what is cached: this step is of this run alone.
  `RUN --mount=type=secret,id=npm --mount=type=ssh test -S "$SSH_AUTH_SOCK" && echo "$WHO of ${namespace} has $(md5sum < /run/secrets/npm | cut -c1-32) for $TARGETPLATFORM" > /said`,
  // What the next Build takes as its context.
  `RUN printf 'FROM busybox\\nCOPY said /\\nCMD ["cat", "/said"]\\n' > /Dockerfile`,
  ...['COPY of-a-tarball /', 'CMD ["cat", "/said"]', 'FROM base', 'RUN false', ''],
].join('\n')
const heard = (who: string): string => `${who} of ${namespace} has ${md5(token)} for ${native}`
const cache = `type=registry,ref=${pushRegistry}/fields-${id}/cache:1`

/** Everything that is said about a context. */
const everyField = (who: string) => ({
  ...{ source: { http: { url: files.url } }, dockerfile: 'docker/Own', target: 'wanted', platforms: [native] },
  args: [{ name: 'WHO', value: who }],
  secrets: [{ id: 'npm', secretName: 'npm', key: 'token' }],
  ssh: [{ id: 'default', secretName: 'own-key', key: 'id' }],
})
const push = (name: string) => ({ output: { names: [pushed(name)], push: true, insecure: true } })
const inline = (text: string) => ({ source: { dockerfile: `FROM busybox\n${text}\n` } })
const fromGit = (url: string, more: object = {}) => ({ source: { git: { url, ...more } } })
/** A step whose first run never ends, and every later one does. */
const second = (name: string) => inline(`RUN wget -q -O - ${files.second(name)} && echo ${namespace}`)
/** Its pod, and so its log, stays as long as this file takes. */
const kept = (name: string, spec: object): object => buildObject(name, { cleanUp: { pod: '1h' }, ...spec })
const few = (name: string, then: string) =>
  kept(name, { template: { name: 'few', arguments: [{ name: 'THEN', value: `${then} ${name}` }] } })

beforeAll(async () => {
  insitu = await ensureInstalled()
  here = await openBuilds(insitu, namespace)
  await enforce(insitu, namespace, 'restricted')
  git = await startGitServers(net.host)
  commits = await makeRepositories(git)
  files = await serveFiles(net.host, { 'docker/Own': dockerfile, 'of-a-tarball': namespace })
  const secret = (name: string, stringData: object) => ({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name },
    stringData,
  })
  const podTemplate = { template: { metadata: { labels: { team: 'of-a-config-map' } } } }
  const template = (kind: string, name: string, spec: object) => ({ apiVersion, kind, metadata: { name }, spec })
  await here.apply(
    secret('npm', { token }),
    secret('own-key', { id: await makeSshKey() }),
    secret('deploy-key', { 'ssh-privatekey': git.key, known_hosts: git.knownHosts }),
    secret('no-hosts', { 'ssh-privatekey': git.key }),
    secret('other-host', { 'ssh-privatekey': git.key, known_hosts: otherHostKey(git) }),
    secret('wrong', { username: git.user, password: 'wr0ng-w0rd' }),
    {
      ...{ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'pods' } },
      data: { 'podtemplate.yaml': JSON.stringify(podTemplate) },
    },
    template('BuildTemplate', 'few', {
      ...inline('RUN ${THEN}'),
      ...{ parameters: [{ name: 'THEN' }], serviceAccountName: 'builder', history: { succeeded: 1, failed: 1 } },
    }),
  )
  await insitu.kubectl(
    ['apply', '-f', '-'],
    JSON.stringify(
      template('ClusterBuildTemplate', namespace, {
        ...inline('RUN echo ${VERSION} of ${TEAM}'),
        parameters: [
          { name: 'VERSION', description: 'Which one.' },
          { name: 'TEAM', default: 'nobody' },
        ],
      }),
    ),
  )
  await here.apply(
    kept('every', {
      ...{ ...everyField('somebody'), ...push('every'), node: 'node1', cache: { to: [`${cache},mode=max`] } },
      podTemplate: { metadata: { labels: { team: 'inline' } } },
    }),
    kept('evicted', second('evicted')),
    ...[few('few-1', 'echo'), few('few-2', 'false')],
    kept('ssh', fromGit(git.ssh('app'), { revision: 'feature/x', secretName: 'deploy-key' })),
    kept('ssh-module', fromGit(git.ssh('ssh-module'), { secretName: 'deploy-key' })),
    kept('module', fromGit(git.daemon('with-module'))),
    kept('sub-path', fromGit(git.daemon('app'), { revision: commits[0], subPath: 'sub' })),
    kept('lfs', fromGit(git.daemon('large'))),
    kept('lfs-ignored', fromGit(git.daemon('large'), { lfs: 'Ignore' })),
    kept('no-hosts', fromGit(git.ssh('app'), { secretName: 'no-hosts' })),
    kept('other-host', fromGit(git.ssh('app'), { secretName: 'other-host', lfs: 'Ignore' })),
    kept('wrong', fromGit(git.http('app'), { secretName: 'wrong' })),
    kept('no-registry', { ...inline(''), output: { names: ['127.0.0.1:1/a:1'], push: true, insecure: true } }),
    kept('too-late', {
      ...{ ...inline(`LABEL of=${id}-too-late`), ...push('too-late') },
      steps: {
        after: [{ name: 'test', image: 'docker.io/library/busybox', command: ['sh', '-c', 'exit 3'] }],
      },
    }),
    kept('cancelled', {
      ...{ ...inline(`LABEL of=${id}-cancelled`), ...push('cancelled') },
      steps: {
        after: [
          {
            name: 'wait',
            image: 'docker.io/library/busybox',
            command: ['sh', '-c', `trap 'exit 1' TERM; sleep 6011 & wait`],
          },
        ],
      },
    }),
    kept('short', { ...inline('RUN true'), cleanUp: { pod: '0s', build: '3s' } }),
    kept('of-cluster', {
      template: { name: namespace, kind: 'ClusterBuildTemplate', arguments: [{ name: 'VERSION', value: 'the third' }] },
    }),
  )
  await Promise.all([here.ended('every'), here.ended('few-1'), here.ended('few-2')])
  await here.apply(
    kept('cached', {
      ...{ ...everyField('somebody'), node: 'node2', cache: { from: [cache] } },
      podTemplateFrom: { configMap: 'pods' },
    }),
    kept('of-image', { source: { image: { name: pushed('every') } }, ...push('of-image') }),
    ...[few('few-3', 'echo'), few('few-4', 'false')],
  )
})
afterAll(async () => {
  await here?.[Symbol.asyncDispose]()
  await insitu?.kubectl(['delete', 'clusterbuildtemplate', namespace, '--ignore-not-found'])
  await git?.close()
  await files?.[Symbol.asyncDispose]()
})

/** Name of the one pod of a Build. */
const podOf = async (name: string): Promise<string> => {
  const { metadata } = await here.get(name)
  return kubectl(
    'get',
    'pods',
    '-l',
    `insitu.build/build-uid=${metadata?.uid}`,
    '-o',
    'jsonpath={.items[0].metadata.name}',
  )
}
const kubectl = (...args: string[]) => here.kubectl(...args)
const succeeded = async (name: string): Promise<Build> => {
  const build = await here.ended(name)
  expect(build.status, JSON.stringify(build.status)).toMatchObject({ phase: 'Succeeded' })
  return build
}
/** It was not tried again. @returns its message. */
const failed = async (name: string): Promise<string> => {
  const build = await here.ended(name)
  expect(build.status, JSON.stringify(build.status)).toMatchObject({ phase: 'Failed', attempt: 1 })
  expect(build.status).not.toHaveProperty('former')
  expect(condition(build, 'Succeeded')).toMatchObject({ status: 'False', reason: 'BuildFailed' })
  return build.status?.message ?? ''
}
const digestOf = async (name: string): Promise<string | null> => {
  const accept = 'application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json'
  const url = `http://${pushRegistry}/v2/${namespace}/${name}/manifests/1`
  return (await fetch(url, { method: 'HEAD', headers: { accept } })).headers.get('docker-content-digest')
}

describe('what a Build says takes effect:', () => {
  it('a tarball with Dockerfile, target, arguments, platform, secret, ssh, node, names that are pushed', async () => {
    const { status } = await succeeded('every')
    expect(status).toMatchObject({
      node: 'node1',
      platform: native,
      names: [pushed('every')],
      digest: await digestOf('every'),
    })
    const seen = (await kubectl('get', 'builds,jobs,pods,events', '-o', 'yaml')) + (await here.log('every'))
    expect(seen).not.toContain(token)
    const job = await kubectl('get', 'job', status?.job ?? '', '-o', 'jsonpath={.spec.activeDeadlineSeconds}')
    // Half an hour, because nobody said another time; a little of it had gone.
    expect(Number(job)).toBeGreaterThan(1500)
    expect(Number(job)).toBeLessThanOrEqual(1800)
  })

  it('a pod template inline, or of a ConfigMap', async () => {
    const teams = () => kubectl('get', 'pods', '-l', 'team', '-o', 'jsonpath={.items[*].metadata.labels.team}')
    await succeeded('cached')
    expect((await teams()).split(' ').toSorted()).toEqual(['inline', 'of-a-config-map'])
  })

  it('a cache in a registry, for the daemon of another node', async () => {
    expect((await succeeded('cached')).status).toMatchObject({ node: 'node2' })
    expect(await here.log('cached')).toMatch(/CACHED/)
  })

  it('a ClusterBuildTemplate with an argument and a default', async () => {
    await succeeded('of-cluster')
    expect(await here.log('of-cluster')).toMatch(/^#\d+ [\d.]+ the third of nobody$/m)
  })

  it('its conditions, events and columns tell it, and kubectl wait waits for it', async () => {
    expect(await kubectl('wait', '--for=condition=Succeeded', 'build/of-image', '--timeout=170s')).toContain(
      'condition met',
    )
    const build = await here.get('every')
    expect(['Scheduled', 'Running', 'Succeeded'].map((type) => condition(build, type)?.status)).toEqual([
      'True',
      'False',
      'True',
    ])
    const events = await kubectl(
      ...['get', 'events', '--field-selector', 'involvedObject.kind=Build,involvedObject.name=every'],
      ...['-o', 'jsonpath={.items[*].reason}'],
    )
    expect(events.split(' ')).toEqual(expect.arrayContaining(['Started', 'BuildSucceeded']))
    const table = async (...args: string[]) =>
      (await kubectl('get', ...args))
        .trim()
        .split('\n')
        .map((line) => line.trim().split(/\s+/))
    const [head, row] = await table('bld', 'every')
    expect(head).toEqual(['NAME', 'PHASE', 'REASON', 'NODE', 'IMAGE', 'AGE'])
    expect(row?.slice(0, -1)).toEqual(['every', 'Succeeded', 'BuildSucceeded', 'node1', pushed('every')])
    const [wide] = await table('bld', 'every', '-o', 'wide')
    expect(wide?.slice(5)).toEqual(['DIGEST', 'POD', 'STARTED', 'ENDED', 'AGE'])
    expect((await table('bt', 'few'))[1]?.slice(0, 2)).toEqual(['few', 'THEN'])
    expect((await table('cbt', namespace))[0]).toEqual(['NAME', 'PARAMETERS', 'AGE'])
  })
})

describe('git', () => {
  it('over ssh with the key of the server: a branch, and submodules', async () => {
    expect((await succeeded('ssh')).status).toMatchObject({ commit: commits[2] })
    expect(await here.log('ssh')).toContain('COPY which /branched')
    await succeeded('ssh-module')
    const seen = (await kubectl('get', 'builds,jobs,pods,events', '-o', 'yaml')) + (await here.log('ssh-module'))
    expect(seen).not.toContain(git.key.split('\n')[2])
  })

  it('over ssh from a server with another key than its own, or that nobody vouches for: refused with what to do', async () => {
    expect(await failed('other-host')).toContain('shows is not in known_hosts of the Secret')
    expect(await failed('no-hosts')).toMatch(
      /Secret no-hosts needs the key known_hosts.*ssh-keyscan -p \d+ 10\.77\.0\.1/,
    )
  })

  it('from git daemon: submodules, and a directory of a commit', async () => {
    await succeeded('module')
    expect((await succeeded('sub-path')).status).toMatchObject({ commit: commits[0] })
    expect(await here.log('sub-path')).toContain('COPY only-here-first /')
  })

  it('LFS is refused with the names of the files, unless they are to be ignored', async () => {
    expect(await failed('lfs')).toContain(lfsRefused)
    await succeeded('lfs-ignored')
  })

  it('with a wrong password fails, and says neither that one nor another', async () => {
    expect(await failed('wrong')).toMatch(/could not read Username|[Aa]uthentication failed|terminal prompts disabled/)
    const seen = (await kubectl('get', 'builds,jobs,pods,events', '-o', 'yaml')) + (await here.log('wrong'))
    expect(seen).not.toMatch(/wr0ng-w0rd/)
  })
})

describe('what was lost is begun again, and nothing else:', () => {
  it('a pod that is evicted', async () => {
    await waitFor('its step to ask', () => files.asked('evicted') === 1 || undefined, { timeout: 200_000 })
    await here.seen('evicted', 'to run', ({ status }) => status?.phase === 'Running')
    const change = (spec: object) =>
      kubectl('patch', 'build', 'evicted', '--type=merge', '-p', JSON.stringify({ spec }))
    await expect(change({ timeout: '5m' })).rejects.toThrow('spec.timeout cannot change')
    await expect(change({ source: { dockerfile: 'FROM a' } })).rejects.toThrow('spec.source cannot change')
    const pod = await podOf('evicted')
    await insitu.kubectl(
      ['create', '--raw', `/api/v1/namespaces/${namespace}/pods/${pod}/eviction`, '-f', '-'],
      JSON.stringify({ apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name: pod, namespace } }),
    )
    const { status } = await succeeded('evicted')
    expect(status).toMatchObject({ attempt: 2, former: [{ attempt: 1, pod }] })
    expect(files.asked('evicted')).toBe(2)
  })

  it('not a registry that is not there, nor a step that fails: what was pushed before it is said', async () => {
    expect(await failed('no-registry')).toMatch(/refused/)
    expect(await failed('too-late')).toContain('container test ended with exit code 3')
    const { status } = await here.get('too-late')
    expect(status).toMatchObject({ names: [pushed('too-late')], digest: await digestOf('too-late') })
  })
})

it('a Build that is cancelled after it has pushed says what was pushed', async () => {
  const pod = await waitFor(
    'the step after the build',
    async () => {
      const name = await podOf('cancelled')
      const phase = await kubectl(
        'get',
        'pod',
        name,
        '-o',
        'jsonpath={.status.containerStatuses[0].state.running.startedAt}',
      )
      return phase === '' ? undefined : name
    },
    { timeout: 200_000 },
  )
  await kubectl('patch', 'build', 'cancelled', '--type=merge', '-p', '{"spec":{"cancelled":true}}')
  await here.ended('cancelled')
  const { status } = await here.seen(
    'cancelled',
    'to say what was pushed',
    (build) => build.status?.digest !== undefined,
  )
  expect(status).toMatchObject({
    phase: 'Cancelled',
    names: [pushed('cancelled')],
    digest: await digestOf('cancelled'),
  })
  await waitFor('its pod to go', async () => !(await kubectl('get', 'pods', '-o', 'name')).includes(pod) || undefined, {
    timeout: 90_000,
  })
})

it('Builds go by their own time, and by the history of their template, each result for itself', async () => {
  const left = async (like: RegExp) =>
    (await here.all()).map(({ metadata }) => metadata?.name ?? '').filter((name) => like.test(name))
  await waitFor('the older ones to go', async () => (await left(/^few-/)).join() === 'few-3,few-4' || undefined, {
    timeout: 200_000,
  })
  expect((await succeeded('few-3')).status?.phase).toBe('Succeeded')
  expect(await failed('few-4')).toContain('exit code: 1')
  await waitFor('the short one to go', async () => (await left(/^short$/)).length === 0 || undefined, {
    timeout: 200_000,
  })
  expect(await kubectl('get', 'jobs', '-o', 'name')).not.toContain('/short-')
})

describe('the API server by itself', () => {
  /** Creates nothing. @returns what it says of each, by its place. */
  async function said(specs: readonly object[]): Promise<string[]> {
    const items = specs.map((spec, i) => ({
      apiVersion,
      kind: 'Build',
      metadata: { name: `tried-${i}-x`, namespace },
      spec,
    }))
    // What kubectl itself would refuse is sent as well.
    const how = ['create', '--dry-run=server', '--validate=false', '-f', '-']
    const args = ['--kubeconfig', insitu.lab.kubeconfig, ...how]
    const input = JSON.stringify({ apiVersion: 'v1', kind: 'List', items })
    const { stdout, stderr } = await run(join(toolsBin, 'kubectl'), args, { input, allow: [1], timeout: 120_000 })
    const all = `${stderr}\n${stdout}`
    const pieces = all.split(/(?=tried-\d+-x)/)
    return specs.map((_, i) => pieces.filter((piece) => piece.startsWith(`tried-${i}-x`)).join(''))
  }

  it('takes what makes sense', async () => {
    expect(await said(sensible.map(([, spec]) => spec))).toEqual(
      sensible.map(() => expect.stringContaining('created') as string),
    )
  })

  it('refuses nonsense with what is wrong', async () => {
    const answers = await said(nonsense.map(([, spec]) => spec))
    expect(answers).toEqual(nonsense.map(([, , message]) => expect.stringContaining(message) as string))
  })

  it('refuses missing and unknown arguments of templates by the names of their parameters', async () => {
    const of = (kind: string, name: string, ...args: string[]) => ({
      template: { kind, name, arguments: args.map((one) => ({ name: one, value: 'x' })) },
    })
    const answers = await said([
      of('BuildTemplate', 'few'),
      of('BuildTemplate', 'few', 'THEN', 'THAN'),
      of('ClusterBuildTemplate', namespace, 'TEAM'),
      of('ClusterBuildTemplate', namespace, 'VERSION', 'VERSIONS'),
      of('ClusterBuildTemplate', namespace, 'VERSION'),
    ])
    const words = [
      'BuildTemplate few needs a value for its parameter THEN',
      'BuildTemplate few has no parameter THAN; it has THEN',
      `ClusterBuildTemplate ${namespace} needs a value for its parameter VERSION`,
      `ClusterBuildTemplate ${namespace} has no parameter VERSIONS; it has VERSION, TEAM`,
      'created',
    ]
    expect(answers).toEqual(words.map((text) => expect.stringContaining(text) as string))
  })
})

// These come when the others have ended: it disturbs what is built there.
it('a build whose daemon is killed is begun again, and pods run what was built of a tarball and of an image', async () => {
  await here.apply(kept('killed', { ...second('killed'), node: 'node2' }))
  await waitFor('its step to ask', () => files.asked('killed') === 1 || undefined, { timeout: 120_000 })
  await insitu.lab.exec('node2', ['sh', '-c', 'kill -9 $(pgrep -x buildkitd)'])
  const { status } = await succeeded('killed')
  expect(status).toMatchObject({ attempt: 2, node: 'node2', former: [{ attempt: 1 }] })
  await ready(insitu)
  await enforce(insitu, namespace, 'baseline')
  const ran = (name: string) => runToEnd(insitu, namespace, { pod: `ran-${name}`, image: pushed(name) })
  const told = heard('somebody')
  expect(await Promise.all([ran('every'), ran('of-image')])).toEqual([told, told])
})
