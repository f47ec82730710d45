import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Build } from '../../src/api/builds/builds.ts'
import { namespace as ours } from '../../src/api/names.ts'
import { startGitServers } from '../integration/fixtures/git-servers.ts'
import { net } from '../lab/lab.ts'
import { pushRegistry } from '../lab/layout.ts'
import { run } from '../../src/kernel/process/run.ts'
import { waitFor } from '../lab/wait.ts'
import { type BuildFiles, serveFiles } from './fixtures/build-files.ts'
import { makeClaim, type NodeClaim } from './fixtures/claims.ts'
import { ensureInstalled, type Installed, repository } from './fixtures/insitu.ts'
import { pageShell, shellBlocks } from './fixtures/page.ts'
import { enforce, runToEnd, saysAtEnd } from './fixtures/pods.ts'

const namespace = `builds-${randomBytes(3).toString('hex')}`
let insitu: Installed
/** For the commands of the pages, with images of names of this run. */
let shell: Awaited<ReturnType<typeof pageShell>>

const kubectl = (...args: string[]) => insitu.kubectl(['-n', namespace, ...args])
const apply = (object: object | string) =>
  insitu.kubectl(['-n', namespace, 'apply', '-f', '-'], typeof object === 'string' ? object : JSON.stringify(object))
const example = (name: string) => readFile(join(repository, 'config/examples/builds', name), 'utf8')
/** Kubelets want other content for every name: what differs between runs is the namespace. */
const unique = (text: string) => text.replaceAll('images.internal/', `images.internal/${namespace}/`)

const build = (name: string, spec: object) =>
  apply({
    apiVersion: 'insitu.build/v1alpha1',
    kind: 'Build',
    metadata: { name },
    spec: { serviceAccountName: 'builder', ...spec },
  })
const get = async (name: string) => JSON.parse(await kubectl('get', 'build', name, '-o', 'json')) as Build
const ended = (name: string) =>
  waitFor(
    `Build ${name} to end`,
    async () => {
      const found = await get(name)
      return found.status?.completionTime === undefined ? undefined : found
    },
    { timeout: 180_000 },
  )
/** Runs an image by its name and gives what it says. */
const runs = (pod: string, image: string) => runToEnd(insitu, namespace, { pod, image })
const nothingLeft = (name: string) =>
  waitFor(
    `nothing to be left of ${name}`,
    async () => {
      const left = await kubectl('get', 'jobs,pods', '-o', 'name')
      return left.includes(name) ? undefined : true
    },
    { timeout: 90_000 },
  )

beforeAll(async () => {
  insitu = await ensureInstalled()
  await insitu.kubectl(['create', 'namespace', namespace])
  await enforce(insitu, namespace, 'restricted')
  await insitu.kubectl(['-n', ours, 'rollout', 'status', 'deployment/insitu-controller', '--timeout=120s'])
  shell = await pageShell(insitu, namespace, 'config/examples/builds', unique)
  // Tests look at these later: what they take passes beside others.
  await apply(await example('account.yaml'))
  await apply(unique(await example('steps.yaml')).replaceAll('image: busybox', 'image: docker.io/library/busybox'))
  await build('broken', { source: { dockerfile: 'FROM busybox\nRUN echo the disk is on fire && exit 3\n' } })
  await build('stranger', { source: { dockerfile: 'FROM busybox' }, serviceAccountName: 'default' })
})
afterAll(async () => {
  await shell?.[Symbol.asyncDispose]()
  await insitu?.kubectl(['delete', 'namespace', namespace, '--wait=false', '--ignore-not-found'])
})

describe('a Build', () => {
  it('of an inline Dockerfile ends with a pod that runs its image, in a namespace that takes only restricted pods', async () => {
    const [block = ''] = await shellBlocks('docs/builds.md')
    const [, commands = '', pod = ''] = /^([^]*)(kubectl run [^]*)$/.exec(unique(block)) ?? []
    await shell.run(commands)
    const { status } = await get('hello')
    expect(status).toMatchObject({ phase: 'Succeeded', names: [`images.internal/${namespace}/hello:v1`] })
    expect(status?.digest).toMatch(/^sha256:[0-9a-f]{64}$/)
    expect(insitu.lab.nodes).toContain(status?.node)
    // Nobody asked for one: it is that of the node.
    const platforms = (await insitu.agents()).get(status?.node ?? '')?.report?.platforms
    expect(status?.platform).toBe(platforms?.[0])
    expect(await kubectl('logs', `job/${status?.job}`)).toContain(`[insitu] node ${status?.node}`)
    expect(await kubectl('get', 'build', 'hello')).toMatch(/hello\s+Succeeded\s+BuildSucceeded/)
    await enforce(insitu, namespace, 'baseline')
    await shell.run(pod)
    expect(await saysAtEnd(insitu, namespace, 'hello')).toBe('hello, world')
  })

  it('takes a template with its arguments', async () => {
    const [block = ''] = await shellBlocks('docs/templates.md')
    await shell.run(block)
    expect((await ended('greeting-evening')).status).toMatchObject({ phase: 'Succeeded' })
    expect(await runs('evening', `images.internal/${namespace}/greeting:evening`)).toBe('good evening')
  })

  it('builds a directory of a private git repository at a tag', async () => {
    const git = await startGitServers(net.host)
    try {
      const dockerfile = 'FROM busybox\nCOPY text /text\nCMD ["cat", "/text"]\n'
      const files = { 'service/Dockerfile': dockerfile, 'service/text': `of ${namespace}\n` }
      const [commit] = await git.repository('app', [{ files, tag: 'v1' }, { files: { 'service/text': 'later\n' } }])
      await kubectl(
        ...['create', 'secret', 'generic', 'git-credentials', '--type=kubernetes.io/basic-auth'],
        ...[`--from-literal=username=${git.user}`, `--from-literal=password=${git.password}`],
      )
      const text = unique(await example('git.yaml'))
      const since = Math.floor(Date.now() / 1000)
      await apply(text.replace('https://git.example.com/team/app.git', git.http('app')))
      const { status } = await ended('from-git')
      expect(status, JSON.stringify(status)).toMatchObject({ phase: 'Succeeded', commit })
      const everything = await kubectl('get', 'builds,jobs,pods,events', '-o', 'yaml')
      const logs = await kubectl('logs', `job/${status?.job}`)
      expect(everything + logs).not.toContain(git.password)
      const name = `images.internal/${namespace}/from-git:v1`
      const holds = async (text: string) => {
        const script = 'ctr -n k8s.io images export - "$0" | grep -c -a -F -e "$1" || true'
        const { stdout } = await insitu.lab.exec(status?.node ?? '', ['sh', '-c', script, name, text])
        return Number(stdout.trim()) > 0
      }
      expect(await holds(`of ${namespace}`)).toBe(true)
      expect(await holds(git.password)).toBe(false)
      // What daemon and containerd have written since: layers, provenance, records of builds.
      const written = async (text: string) => {
        const places = ['/var/lib/containerd/io.containerd.content.v1.content/blobs', '/var/lib/buildkit']
        const script = 'find "$3" "$4" -xdev -type f -newermt "@$1" -exec grep -l -a -F -e "$2" {} + || true'
        const args = ['sh', '-c', script, 'sh', String(since), text, ...places]
        return (await insitu.lab.exec(status?.node ?? '', args)).stdout
      }
      const header = Buffer.from(`${git.user}:${git.password}`).toString('base64')
      expect(await written(commit ?? '')).toContain('/blobs/')
      for (const word of [git.password, header]) expect(await written(word)).toBe('')
    } finally {
      await git.close()
    }
    expect(await runs('from-git', `images.internal/${namespace}/from-git:v1`)).toBe(`of ${namespace}`)
  })

  it('runs containers before and after, in order, in one workspace', async () => {
    const { status } = await ended('with-steps')
    expect(status, JSON.stringify(status)).toMatchObject({ phase: 'Succeeded' })
    expect(await kubectl('logs', `job/${status?.job}`, '-c', 'tell')).toContain('built with the answer 42')
    expect(await runs('with-steps', `images.internal/${namespace}/with-steps:v1`)).toBe('42')
  })

  it('that fails says its last lines', async () => {
    const { status } = await ended('broken')
    expect(status).toMatchObject({ phase: 'Failed', attempt: 1 })
    expect(status?.message).toContain('the disk is on fire')
    expect(status?.message).toContain('exit code: 3')
  })

  it('is followed by insitu logs from its queue to its end', async () => {
    const logs = (name: string, ...args: string[]) =>
      run(join(repository, 'bin/insitu'), ['logs', name, '-n', namespace, ...args], {
        env: { KUBECONFIG: insitu.lab.kubeconfig },
        allow: [1],
        timeout: 180_000,
      })
    await build('followed', { source: { dockerfile: `FROM busybox\nRUN echo ${namespace}; sleep 3; echo and over\n` } })
    const followed = await logs('followed', '-f')
    expect(followed).toMatchObject({ exitCode: 0, stdout: expect.stringContaining('and over') as string })
    expect(followed.stderr).toMatch(/^--- followed-\S+: build$/m)
    expect((await logs('with-steps')).stdout).toMatch(/exporting[\s\S]*built with the answer 42/)
    expect(await logs('broken', '-f')).toMatchObject({
      exitCode: 1,
      stdout: expect.stringContaining('the disk is on fire') as string,
      stderr: expect.stringContaining('Failed') as string,
    })
    expect(await logs('nobody')).toMatchObject({ exitCode: 1, stdout: '' })
  })

  it('of an account that may not build says what is missing', async () => {
    expect((await ended('stranger')).status?.message).toContain('--clusterrole=insitu-builder')
  })
})

it('a dozen Builds at once are spread as placement says: where pods wait for their images, and over the nodes', async () => {
  const { nodes } = insitu.lab
  const [first = '', second = ''] = nodes
  const image = (name: string) => `images.internal/${namespace}/spread:${name}`
  const all = Array.from({ length: 12 }, (_, i) => `spread-${i}`)
  const awaited = new Map(all.slice(0, 6).map((name, i) => [name, nodes[i % nodes.length] ?? '']))
  const hints: Readonly<Record<string, object>> = { 'spread-6': { for: 'pod/spread-0' }, 'spread-7': { node: second } }
  const placed = new Map([...awaited, ['spread-6', first], ['spread-7', second]])
  await enforce(insitu, namespace, 'baseline')
  await apply(await example('account.yaml'))
  const pods = [...awaited].map(([name, nodeName]) => {
    const containers = [{ name: 'main', image: image(name), imagePullPolicy: 'Never' }]
    const spec = { nodeName, restartPolicy: 'Never', terminationGracePeriodSeconds: 0, containers }
    return { apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec }
  })
  await apply({ apiVersion: 'v1', kind: 'List', items: pods })
  const items = all.map((name) => ({
    ...{ apiVersion: 'insitu.build/v1alpha1', kind: 'Build', metadata: { name, labels: { crowd: namespace } } },
    spec: {
      serviceAccountName: 'builder',
      source: { dockerfile: `FROM busybox\nLABEL of=${namespace}-${name}\nCMD ["echo", "${name}"]\n` },
      output: { names: [image(name)] },
      ...hints[name],
    },
  }))
  await apply({ apiVersion: 'v1', kind: 'List', items })
  const ends = await waitFor(
    'all of them to end',
    async () => {
      const list = JSON.parse(await kubectl('get', 'builds', '-l', `crowd=${namespace}`, '-o', 'json')) as {
        items: Build[]
      }
      const over = list.items.filter(({ status }) => status?.completionTime !== undefined)
      return over.length === all.length ? over : undefined
    },
    { timeout: 280_000, interval: 500 },
  )
  for (const { metadata, status } of ends) {
    const name = metadata?.name ?? ''
    expect(status, name).toMatchObject({ phase: 'Succeeded', attempt: 1, names: [image(name)] })
    expect(nodes).toContain(status?.node)
    expect(status?.node, name).toBe(placed.get(name) ?? status?.node)
  }
  expect(new Set(ends.map(({ status }) => status?.node)).size).toBeGreaterThan(1)
  expect(await Promise.all([...awaited.keys()].map((pod) => saysAtEnd(insitu, namespace, pod)))).toEqual([
    ...awaited.keys(),
  ])
})

describe('the end of a Build leaves nothing', () => {
  /** A shell's last command replaces it: the time it sleeps tells a step from others. */
  const slow = (name: string, seconds: number) => ({
    source: { dockerfile: `FROM busybox\nRUN echo ${namespace}-${name} && sleep ${seconds}\n` },
  })
  const sleeping = (name: string) =>
    waitFor(
      `${name} to sleep`,
      async () => {
        const { status } = await get(name)
        if (status?.job === undefined) return undefined
        const logs = await kubectl('logs', `job/${status.job}`).catch(() => '')
        return new RegExp(`^#\\d+ [\\d.]+ ${namespace}-${name}$`, 'm').test(logs) ? true : undefined
      },
      { timeout: 120_000 },
    )
  /** Processes of RUN steps on any node. */
  const steps = async () => {
    const all = await Promise.all(
      insitu.lab.nodes.map((node) => insitu.lab.exec(node, ['ps', '-eo', 'args']).then(({ stdout }) => stdout)),
    )
    return all.join('\n')
  }
  const stepGone = (seconds: number) =>
    waitFor(
      `sleep ${seconds} to be gone`,
      async () => ((await steps()).includes(`sleep ${seconds}`) ? undefined : true),
      { timeout: 60_000 },
    )

  /** What a registry has now. */
  const digestOf = async (name: string): Promise<string | null> => {
    const accept = 'application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json'
    const url = `http://${pushRegistry}/v2/${namespace}/${name}/manifests/1`
    return (await fetch(url, { method: 'HEAD', headers: { accept } })).headers.get('docker-content-digest')
  }
  const pushed = (name: string): string => `${pushRegistry}/${namespace}/${name}:1`
  const pushes = (name: string, ...more: string[]) => ({
    source: { dockerfile: `FROM busybox\nLABEL of=${namespace}-${name}\n` },
    output: { names: [pushed(name), ...more], push: true, insecure: true },
    retries: 0,
  })
  let files: BuildFiles
  beforeAll(async () => {
    files = await serveFiles(net.host, {})
    // These are looked at last: the first has most of a minute for what it pushes, and others are tried meanwhile.
    await build('half', { ...pushes('half', `${files.mute}/never:1`), timeout: '50s' })
    await build('late', { ...slow('late', 6002), timeout: '20s' })
    const script = `trap 'exit 1' TERM; sleep 6006 & wait`
    const after = [{ name: 'wait', image: 'docker.io/library/busybox', command: ['sh', '-c', script] }]
    await build('vanished', { ...pushes('vanished'), steps: { after } })
  })
  afterAll(async () => {
    await files?.[Symbol.asyncDispose]()
  })

  it('when it is cancelled', async () => {
    await build('cancelled', slow('cancelled', 6001))
    await sleeping('cancelled')
    expect(await steps()).toContain('sleep 6001')
    await kubectl('patch', 'build', 'cancelled', '--type=merge', '-p', '{"spec":{"cancelled":true}}')
    expect((await ended('cancelled')).status).toMatchObject({ phase: 'Cancelled' })
    await nothingLeft('cancelled')
    await stepGone(6001)
  })

  it('when it is deleted', async () => {
    await build('deleted', slow('deleted', 6003))
    await sleeping('deleted')
    await kubectl('delete', 'build', 'deleted')
    await nothingLeft('deleted')
    await stepGone(6003)
    expect(await steps()).not.toContain('sleep 6003')
  })

  it('when its pod is gone without a word after it has pushed: what it pushed is said', async () => {
    const known = await waitFor(
      'the step after the push',
      async () => {
        const { status } = await get('vanished')
        return status?.digest === undefined ? undefined : status
      },
      { timeout: 200_000 },
    )
    // No kubelet is waited for, and so nothing more is heard of it: as with a node that is lost.
    await kubectl('delete', 'pod', known.pod ?? '', '--force', '--grace-period=0')
    const { status } = await ended('vanished')
    expect(status?.conditions?.find((c) => c.type === 'Succeeded')).toMatchObject({ reason: 'InfrastructureFailed' })
    expect(status).toMatchObject({ names: [pushed('vanished')], digest: await digestOf('vanished') })
    await kubectl('delete', 'build', 'vanished')
    await nothingLeft('vanished')
  })

  const other = `${namespace}-ends`
  const onClaim = (claim: NodeClaim, name: string, run: string, more: object = {}) =>
    insitu.kubectl(
      ['-n', other, 'apply', '-f', '-'],
      JSON.stringify({
        ...{ apiVersion: 'insitu.build/v1alpha1', kind: 'Build', metadata: { name } },
        spec: {
          ...{ serviceAccountName: 'builder', source: { workspace: {} }, workspace: { claimName: claim.name } },
          ...more,
          steps: {
            before: [
              {
                ...{ name: 'write', image: 'docker.io/library/busybox', command: ['sh', '-c'] },
                args: [`printf 'FROM busybox\\nRUN ${run}\\n' > Dockerfile`],
              },
            ],
          },
        },
      }),
    )
  const there = (name: string): Promise<Build> =>
    insitu.kubectl(['-n', other, 'get', 'build', name, '-o', 'json']).then((text) => JSON.parse(text) as Build)

  it('on a claim: the directory is gone after success and failure, and a deleted namespace takes all of a running one, but what is to stay', async () => {
    await insitu.kubectl(['create', 'namespace', other])
    await enforce(insitu, other, 'restricted')
    await insitu.kubectl(['-n', other, 'apply', '-f', '-'], await example('account.yaml'))
    await using kept = await makeClaim(insitu, { namespace: other, name: `${other}-kept`, reclaim: 'Retain' })
    await using deleted = await makeClaim(insitu, { namespace: other, name: `${other}-deleted`, reclaim: 'Delete' })
    const has = async (claim: NodeClaim, name: string) =>
      ((await claim.content()) ?? []).some((one) => one.startsWith(`${name}-`))
    const toStay = { cleanUp: { workspace: 'OnSuccess' } }
    await Promise.all([
      onClaim(kept, 'good', 'true'),
      onClaim(deleted, 'bad', 'false'),
      onClaim(kept, 'broken', 'false', toStay),
      onClaim(kept, 'endless', 'sleep 6004 && true'),
      onClaim(deleted, 'timeless', 'sleep 6005 && true'),
    ])
    for (const [name, phase, claim, stays] of [
      ['good', 'Succeeded', kept, false],
      ['bad', 'Failed', deleted, false],
      ['broken', 'Failed', kept, true],
    ] as const) {
      const found = await waitFor(
        `${name} to be over and let go`,
        async () => {
          const build = await there(name)
          return build.status?.completionTime && !build.metadata?.finalizers?.length ? build : undefined
        },
        { timeout: 180_000 },
      )
      expect(found.status, JSON.stringify(found.status)).toMatchObject({ phase })
      expect(await has(claim, name), name).toBe(stays)
    }
    await waitFor(
      'their steps to run',
      async () => {
        const all = await steps()
        return (all.includes('sleep 6004') && all.includes('sleep 6005')) || undefined
      },
      { timeout: 120_000 },
    )
    expect([await has(kept, 'endless'), await has(deleted, 'timeless')]).toEqual([true, true])
    await insitu.kubectl(['delete', 'namespace', other, '--timeout=170s'])
    await Promise.all([stepGone(6004), stepGone(6005)])
    // The claims went with it. This volume is to be kept: it is the pod of the Build that has removed its directory.
    await waitFor('the one volume to be let go', async () => (await kept.phase()) === 'Released' || undefined, {
      timeout: 60_000,
    })
    expect(await kept.content()).toEqual([expect.stringMatching(/^broken-/)])
    await waitFor('the other volume to go', async () => (await deleted.phase()) === '' || undefined, {
      timeout: 120_000,
    })
    expect(await deleted.content()).toBeUndefined()
  })

  it('when it takes longer than its timeout', async () => {
    const { status } = await ended('late')
    expect(status?.conditions?.find((c) => c.type === 'Succeeded')).toMatchObject({ reason: 'Timeout' })
    await nothingLeft('late')
    await stepGone(6002)
  })

  it('when it takes too long while it pushes: of two names the one that a registry has is said', async () => {
    const { status } = await ended('half')
    expect(status?.conditions?.find((c) => c.type === 'Succeeded')).toMatchObject({ reason: 'Timeout' })
    await nothingLeft('half')
    const later = await waitFor(
      'what was pushed to be said',
      async () => ((await get('half')).status?.digest === undefined ? undefined : (await get('half')).status),
      { timeout: 60_000 },
    )
    expect(later).toMatchObject({ names: [pushed('half')], digest: await digestOf('half') })
  })
})
