import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Build } from '../../src/api/builds/builds.ts'
import { startGitServers } from '../integration/fixtures/git-servers.ts'
import { type Registry, registryUser, startRegistry } from '../integration/fixtures/registry.ts'
import { net } from '../lab/lab.ts'
import { pushRegistry } from '../lab/layout.ts'
import { waitFor } from '../lab/wait.ts'
import { startCommand } from './fixtures/background.ts'
import { ensureInstalled, type Installed } from './fixtures/insitu.ts'
import { pageShell, runBlock, shellBlocks } from './fixtures/page.ts'
import { type Publisher, publisherNamespace, startPublisher } from './fixtures/publisher.ts'
import { publishThree } from './fixtures/publishes.ts'

const id = randomBytes(3).toString('hex')
let insitu: Installed
/** Wants a login for everything; plain HTTP. */
let registry: Registry

beforeAll(async () => {
  insitu = await ensureInstalled()
  registry = await startRegistry({ host: net.host, user: registryUser })
  for (const node of insitu.lab.nodes) {
    const hosts = `server = "http://${registry.address}"\n`
    const script = 'mkdir -p "$1" && printf %s "$2" > "$1/hosts.toml"'
    await insitu.lab.exec(node, ['sh', '-ec', script, 'sh', `/etc/containerd/certs.d/${registry.address}`, hosts])
  }
})
afterAll(async () => {
  for (const node of insitu?.lab.nodes ?? []) {
    await insitu.lab.exec(node, ['rm', '-rf', `/etc/containerd/certs.d/${registry?.address ?? 'none'}`])
  }
  await registry?.stop()
})

/** Runs a pod to its end and gives what it says. */
async function says(home: string, name: string, spec: object): Promise<string> {
  const pod = {
    ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace: home } },
    spec: { restartPolicy: 'Never', terminationGracePeriodSeconds: 0, ...spec },
  }
  await insitu.kubectl(['apply', '-f', '-'], JSON.stringify(pod))
  return await waitFor(
    `pod ${name} to end`,
    async () => {
      const phase = await insitu.kubectl(['-n', home, 'get', 'pod', name, '-o', 'jsonpath={.status.phase}'])
      return phase === 'Succeeded' ? await insitu.kubectl(['-n', home, 'logs', name]) : undefined
    },
    { timeout: 120_000, interval: 500 },
  )
}

describe('the lab deployment: a Service on 1234, a ConfigMap, a Secret and a pod with buildctl', () => {
  const home = `flow-${id}`
  const kubectl = (...args: string[]): Promise<string> => insitu.kubectl(['-n', home, ...args])
  const inPod = (script: string): Promise<string> =>
    insitu.kubectl(['-n', home, 'exec', '-i', 'buildkit-cli', '--', 'sh', '-e'], script)
  /** The commands of the page, in this namespace, with the lab's registry. */
  let commands: string[]

  beforeAll(async () => {
    const page = await shellBlocks('config/examples/lab-deployment/README.md')
    commands = page.map((block) =>
      block
        .replaceAll(/(?<=\s)(ns|-n) lab\b/g, `$1 ${home}`)
        .replace('REGISTRY=docker.io', `REGISTRY=${pushRegistry}`)
        .replace('REPOSITORY=team', `REPOSITORY=lab-${id}`),
    )
    const { name: user, password } = registryUser
    await runBlock(insitu, commands[0] ?? '', {
      env: { REGISTRY_SERVER: registry.address, REGISTRY_USER: user, REGISTRY_PASSWORD: password },
    })
  })
  afterAll(async () => {
    await insitu?.kubectl(['delete', 'ns', home, '--wait=false', '--ignore-not-found'])
  })

  it('has what the lab has: the Service on its port, variables and credentials in the pod', async () => {
    expect(await kubectl('get', 'svc', 'buildkitd', '-o', 'jsonpath={.spec.ports[0].port}')).toBe('1234')
    expect(await inPod('printenv | grep RE')).toContain(`REGISTRY=${pushRegistry}`)
    expect(await inPod('cat /registry/config.json')).toContain(registry.address)
  })

  it('builds and pushes each version with the same command, and pods run them', async () => {
    for (const version of ['0.1.0', '0.2.0']) {
      const command = (commands[1] ?? '').replace('VERSION=0.1.0', `VERSION=${version}`)
      expect(command).toContain(`VERSION=${version}`)
      await inPod(`mkdir -p /tmp/app && cd /tmp/app
        printf 'FROM busybox\\nLABEL of=${id}-${version}\\nCMD ["echo", "this is ${version}"]\\n' > Dockerfile
        ${command}`)
      const image = `${pushRegistry}/lab-${id}/simple:${version}`
      const said = await says(home, `v${version.replaceAll('.', '-')}`, { containers: [{ name: 'main', image }] })
      expect(said).toContain(`this is ${version}`)
    }
    const tags = (await (await fetch(`http://${pushRegistry}/v2/lab-${id}/simple/tags/list`)).json()) as {
      tags: string[]
    }
    expect(tags.tags.toSorted((a, b) => (a < b ? -1 : 1))).toEqual(['0.1.0', '0.2.0'])
  })

  it('pushes with the docker-registry Secret where the registry wants a login, and not without it', async () => {
    const build = `cd /tmp/app; printf 'FROM busybox\\nLABEL of=${id}-private\\n' > Dockerfile
      buildctl --addr tcp://buildkitd:1234 build --frontend=dockerfile.v0 --local context=. --local dockerfile=. \\
        --output type=image,name=${registry.address}/lab/simple:1,push=true,registry.insecure=true`
    await expect(inPod(`mkdir -p /tmp/app; export DOCKER_CONFIG=/tmp; ${build}`)).rejects.toThrow(
      /401|authorization|no basic auth/,
    )
    expect(await registry.manifest('lab/simple', '1')).toBeUndefined()
    await inPod(build)
    expect(await registry.manifest('lab/simple', '1')).toBeDefined()
  })

  it('is cleaned up by its label', async () => {
    await runBlock(insitu, commands[2] ?? '')
    expect(await kubectl('get', 'deploy,svc,pod', '-l', 'kubernetes.courselabs.co=buildkit', '-o', 'name')).toBe('')
  })
})

describe('Knative’s Builds, converted: git, a registry that wants a login, and the Secret of the service account', () => {
  const home = `knative-${id}`
  const example = 'config/examples/knative'
  const kubectl = (...args: string[]): Promise<string> => insitu.kubectl(['-n', home, ...args])
  const get = async (name: string) => JSON.parse(await kubectl('get', 'build', name, '-o', 'json')) as Build
  let commands: string[]
  let git: Awaited<ReturnType<typeof startGitServers>>
  let shell: Awaited<ReturnType<typeof pageShell>>
  let commit: string | undefined

  beforeAll(async () => {
    commands = await shellBlocks(`${example}/README.md`)
    git = await startGitServers(net.host)
    const app = { Dockerfile: 'FROM busybox\nCOPY text /\nCMD ["cat", "/text"]\n', text: `of ${home}\n` }
    ;[commit] = await git.repository('app', [{ files: app }])
    // The files as they are, but for addresses, the password, and that the registry of the lab has no TLS.
    const adapt = (text: string): string =>
      text
        .replaceAll('https://git.example.com/team/app.git', git.daemon('app'))
        .replaceAll('revision: master', 'revision: main')
        .replaceAll('https://registry.example.com', `http://${registry.address}`)
        .replaceAll('registry.example.com', registry.address)
        .replaceAll('change-me', registryUser.password)
        .replaceAll("args: ['build', '-t'", "args: ['build', '--insecure-registry', '-t'")
    shell = await pageShell(insitu, home, example, adapt)
    await insitu.kubectl(['create', 'ns', home])
  })
  afterAll(async () => {
    await insitu?.kubectl(['delete', 'ns', home, '--wait=false', '--ignore-not-found'])
    await git?.close()
    await shell?.[Symbol.asyncDispose]()
  })

  it('are watched until they are pushed, and a pod on another node pulls and runs the image', async () => {
    await using watch = startCommand('kubectl', ['--kubeconfig', insitu.lab.kubeconfig, '-n', home, 'get', 'bld', '-w'])
    const { stdout } = await shell.run(commands[0] ?? '')
    expect(stdout).toContain('pushing manifest')
    await waitFor('the watch to say so', () => /app\s+Succeeded\s+BuildSucceeded/.test(watch.output()) || undefined, {
      timeout: 60_000,
    })
    for (const [name, tag] of [
      ['app', 'latest'],
      ['app-buildkit', 'buildkit'],
    ] as const) {
      const { status } = await get(name)
      expect(status, JSON.stringify(status)).toMatchObject({ phase: 'Succeeded', commit })
      expect(await registry.manifest('team/app', tag)).toBeDefined()
    }
    expect((await fetch(`http://${registry.address}/v2/team/app/manifests/latest`)).status).toBe(401)
    const everything = await kubectl('get', 'builds,jobs,pods,events', '-o', 'yaml')
    expect(everything + stdout).not.toContain(registryUser.password)
    await kubectl(
      ...['create', 'secret', 'docker-registry', 'pull', `--docker-server=${registry.address}`],
      ...[`--docker-username=${registryUser.name}`, `--docker-password=${registryUser.password}`],
    )
    const { node } = (await get('app')).status ?? {}
    const said = await says(home, 'app', {
      nodeName: insitu.lab.nodes.find((name) => name !== node),
      imagePullSecrets: [{ name: 'pull' }],
      containers: [{ name: 'main', image: `${registry.address}/team/app`, imagePullPolicy: 'Always' }],
    })
    expect(said.trim()).toBe(`of ${home}`)
  })

  it('push as well with a docker-registry Secret, of which the controller knows nothing', async () => {
    await kubectl('delete', 'rolebinding', 'insitu-controller-secrets')
    await kubectl('patch', 'sa', 'build-bot', '--type=merge', '-p', '{"secrets":[{"name":"pull"}]}')
    const { spec } = await get('app')
    const value = `${registry.address}/team/app:config`
    const again = {
      ...{ apiVersion: 'insitu.build/v1alpha1', kind: 'Build', metadata: { name: 'app-config', namespace: home } },
      spec: { ...spec, template: { ...spec.template, arguments: [{ name: 'IMAGE', value }] } },
    }
    await insitu.kubectl(['apply', '-f', '-'], JSON.stringify(again))
    await kubectl('wait', '--for=condition=Succeeded', 'build/app-config', '--timeout=150s')
    expect(await registry.manifest('team/app', 'config')).toBeDefined()
  })
})

describe('a service that publishes models, with Builds (config/examples/model-publish)', () => {
  let publisher: Publisher
  beforeAll(async () => {
    publisher = await startPublisher(insitu, 'builds')
  })
  afterAll(async () => {
    await publisher?.close()
  })

  it('publishes, and leaves nothing after success, failure and time-out', async () => {
    const published = await publishThree(insitu, publisher, {
      id: `${id}-build`,
      sleep: 4714,
      options: ['--every', '2'],
    })
    const said = await says('default', `model-${id}`, { containers: [{ name: 'main', image: published }] })
    expect(said).toContain('weights')
    await insitu.kubectl(['-n', 'default', 'delete', 'pod', `model-${id}`, '--wait=false'])
    // It knows no certificate and no token but what insitu gives each pod.
    expect(await insitu.kubectl(['-n', publisherNamespace, 'get', 'secrets', '-o', 'name'])).toBe('')
  })
})
