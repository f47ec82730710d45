import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { namespace } from '../../src/api/names.ts'
import { run } from '../../src/kernel/process/run.ts'
import { createAuthority } from '../../src/kernel/tls/ca.ts'
import { bareRepository } from '../integration/fixtures/bare-repository.ts'
import { certificate } from '../integration/fixtures/front-door.ts'
import { type HttpProxy, startHttpProxy } from '../integration/fixtures/http-proxy.ts'
import { type HttpTarget, startHttpTarget } from '../integration/fixtures/http-target.ts'
import { startRegistry } from '../integration/fixtures/registry.ts'
import { labBuildkitdToml } from '../lab/buildkitd-toml.ts'
import { net } from '../lab/lab.ts'
import { nodeNetns, pushRegistry } from '../lab/layout.ts'
import { netnsPath } from '../lab/network.ts'
import { waitFor } from '../lab/wait.ts'
import { askingContext, type BehindProxy, startBehindProxy } from './fixtures/behind-proxy.ts'
import {
  buildctl,
  configure,
  ensureInstalled,
  type Installed,
  repository,
  restartAgents,
  temporary,
} from './fixtures/insitu.ts'
import { portForward } from './fixtures/port-forward.ts'

// Nobody listens there, and no step opens a connection: it is about who sees the variables. The password must show up in
// RUN and nowhere else. buildkitd itself uses the proxy, too, but not for the lab's registries: its toml has them as local.
const proxy = 'http://builder:s3cr3t-of-the-proxy@proxy.corp.test:3128'
const id = randomBytes(3).toString('hex')
const node1 = { 'insitu.node': 'node1' }
let insitu: Installed
let door: Awaited<ReturnType<typeof portForward>>

beforeAll(async () => {
  insitu = await ensureInstalled()
  // As the page for users has it: the variable has the file's line break.
  await using directory = await temporary()
  const file = join(directory.path, 'proxy-url')
  await writeFile(file, `${proxy}\n`)
  await insitu.kubectl([
    '-n',
    namespace,
    'create',
    'secret',
    'generic',
    'insitu-proxy',
    `--from-file=HTTP_PROXY=${file}`,
    `--from-file=https_proxy=${file}`,
    '--from-literal=NO_PROXY=.corp.test',
  ])
  await restartAgents(insitu)
  door = await portForward(insitu.lab)
})
afterAll(async () => {
  await door?.[Symbol.asyncDispose]()
  if (!insitu) return
  await insitu.kubectl(['-n', namespace, 'delete', 'secret', 'insitu-proxy', '--ignore-not-found'])
  await setAgents('HTTP_PROXY-')
  await restartAgents(insitu)
})

/** Sets a variable of the agents, or takes one away, as the page for users has it. */
const setAgents = (variable: string): Promise<string> =>
  insitu.kubectl(['-n', namespace, 'set', 'env', 'ds/insitu-agent', variable])

describe('proxy variables of the agent', () => {
  it('reach RUN in both cases, and stay out of image and history', async () => {
    await using context = await temporary()
    const name = `example.test/${id}/proxy:v1`
    await writeFile(
      join(context.path, 'Dockerfile'),
      `FROM busybox
RUN test "$HTTP_PROXY" = "${proxy}" && test "$http_proxy" = "${proxy}" && test "$HTTPS_PROXY" = "${proxy}" && test "$https_proxy" = "${proxy}"
RUN case "$NO_PROXY" in *.corp.test*) ;; *) exit 1 ;; esac; test "$NO_PROXY" = "$no_proxy"
RUN env | grep -qi proxy
`,
    )
    const opt = { 'insitu.node': 'node1', 'attest:provenance': 'mode=max' }
    const { stderr } = await buildctl({ addr: door.addr, context: context.path, name, opt })
    expect(stderr).toContain('[insitu] provenance is mode=min')
    const inspect = await insitu.lab.exec('node1', ['ctr', '-n', 'k8s.io', 'images', 'inspect', '--content', name])
    expect(inspect.stdout).toContain(name)
    const everything = await allBlobs(name)
    expect(everything).toContain('slsa.dev/provenance')
    expect(everything).not.toMatch(/build-arg:|proxy_?env/i)
    // The Dockerfile's own text is in the history; what must not be there is a variable.
    expect(everything).not.toMatch(/"(https?|no)_proxy=/i)
    expect(everything).not.toMatch(/ARG (https?|no)_proxy|\|\d+ \S*_proxy=/i)
  })

  it("the client's own win, and an empty one switches one off", async () => {
    await using context = await temporary()
    await writeFile(
      join(context.path, 'Dockerfile'),
      'FROM busybox\nRUN test "$http_proxy" = http://mine.test:1 && test "$HTTP_PROXY" = http://mine.test:1 && test -z "$HTTPS_PROXY$https_proxy"\n',
    )
    const build = await buildctl({
      addr: door.addr,
      context: context.path,
      name: `example.test/${id}/own-proxy:v1`,
      opt: { 'insitu.node': 'node1', 'build-arg:http_proxy': 'http://mine.test:1', 'build-arg:HTTPS_PROXY': '' },
    })
    expect(build.exitCode).toBe(0)
  })

  it('are not part of the cache key', async () => {
    await using context = await temporary()
    await writeFile(join(context.path, 'Dockerfile'), 'FROM busybox\nRUN head -c 8 /dev/urandom > /random\n')
    const build = (other: string) =>
      buildctl({
        addr: door.addr,
        context: context.path,
        name: `example.test/${id}/cached:v1`,
        opt: { 'insitu.node': 'node1', 'build-arg:HTTP_PROXY': other },
      })
    await build('http://one.test:1')
    expect((await build('http://two.test:2')).stderr).toMatch(/RUN head -c 8[^\n]*\n#\d+ CACHED/)
  })

  it('are named in the progress when nobody can reach them, without their passwords', async () => {
    await using context = await temporary()
    await writeFile(join(context.path, 'Dockerfile'), 'FROM busybox\nRUN true\n')
    const said = await waitFor(
      'the finding to be said',
      async () => {
        const { stderr } = await buildctl({ addr: door.addr, context: context.path, opt: node1 })
        if (!stderr.includes('cannot be reached from this node')) throw new Error(stderr)
        return stderr
      },
      { timeout: 120_000, interval: 1000 },
    )
    expect(said).toMatch(/\[insitu\] node node1: the proxy \S*proxy\.corp\.test:3128 cannot be reached from this node/)
    expect(said).not.toContain('s3cr3t')
  })

  it('are in no log, metric and record of ours, and in nothing that commands show', async () => {
    for (const role of ['agent', 'gateway']) {
      const ours = ['-n', namespace, 'get', 'pods', '-l', `insitu.build/role=${role}`]
      const logs = await insitu.kubectl(['-n', namespace, 'logs', '-l', `insitu.build/role=${role}`, '--tail=-1'])
      expect(logs.length).toBeGreaterThan(0)
      expect(logs).not.toContain('s3cr3t-of-the-proxy')
      for (const pod of (await insitu.kubectl([...ours, '-o', 'name'])).trim().split('\n')) {
        const path = `/api/v1/namespaces/${namespace}/pods/${pod.replace('pod/', '')}:9375/proxy/metrics`
        const metrics = await insitu.kubectl(['get', '--raw', path])
        expect(metrics).toContain('insitu_')
        expect(metrics).not.toContain('s3cr3t-of-the-proxy')
      }
    }
    // The first build's record has the text of its Dockerfile, with the password that it compares.
    const { stdout: histories } = await run('buildctl', [
      ...['--addr', door.addr, 'debug', 'histories', '--format={{json .}}'],
    ])
    const records = histories.split('\n').filter((line) => line.includes(`example.test/${id}/`))
    expect(records.filter((line) => line.includes(`/${id}/cached:v1`))).not.toEqual([])
    expect(records.filter((line) => /build-arg:\w*_proxy/i.test(line))).toEqual([])
    expect(records.filter((line) => line.includes('s3cr3t') && !line.includes(`/${id}/proxy:v1`))).toEqual([])
    expect(JSON.stringify([...(await insitu.agents()).values()])).not.toContain('s3cr3t-of-the-proxy')
    const env = { KUBECONFIG: insitu.lab.kubeconfig }
    for (const args of [['explain', `example.test/${id}/proxy:v1`], ['nodes'], ['status']]) {
      const { stdout, stderr } = await run(join(repository, 'bin/insitu'), args, { env, allow: [1] })
      expect(stdout).toContain('node1')
      expect(stdout + stderr).not.toContain('s3cr3t-of-the-proxy')
    }
  })
})

describe('a real proxy, for names that only it knows', () => {
  let behind: BehindProxy
  let real: HttpProxy
  let target: HttpTarget
  let url: string
  let repositories: Awaited<ReturnType<typeof temporary>>

  beforeAll(async () => {
    repositories = await temporary()
    await bareRepository(repositories.path)
    behind = await startBehindProxy(insitu, repositories.path)
    ;({ proxy: real, target, url } = behind)
  })
  afterAll(async () => {
    await behind?.stop()
    await repositories?.[Symbol.asyncDispose]()
  })

  it('the ConfigMap of the install wins over the agents, without a restart, and NO_PROXY is completed', async () => {
    await using context = await temporary()
    await writeFile(
      join(context.path, 'Dockerfile'),
      `FROM busybox\nRUN wget -qO- ${url} && test -z "$HTTPS_PROXY" && echo "except $NO_PROXY" # ${id}\n`,
    )
    const build = async () => buildctl({ addr: door.addr, context: context.path, opt: node1 })
    const result = await waitFor('the ConfigMap to arrive', build, { timeout: 60_000 })
    expect(result.stderr).toContain('from-behind-the-proxy')
    expect(real.requests()).toContain(`GET ${url}`)
    const apiServer = await insitu.kubectl(['get', 'svc', 'kubernetes', '-o', 'jsonpath={.spec.clusterIP}'])
    const cluster = ['.svc', '.cluster.local', net.services, '10.77.0.11', '10.244.1.0/24', apiServer]
    // The last one is of the registries that buildkitd.toml has with `http = true`.
    for (const entry of ['.corp.test', ...cluster, net.control]) {
      expect(result.stderr).toMatch(new RegExp(`except (\\S*,)?${entry.replaceAll('.', '\\.')}(,|$)`, 'm'))
    }
  })

  it('what NO_PROXY says is reached without it: by name, by address, and in the ranges of the cluster', async () => {
    const pods = await insitu.kubectl([
      ...['-n', 'kube-system', 'get', 'pods', '-l', 'k8s-app=kube-dns'],
      ...['-o', 'jsonpath={.items[0].status.podIP}'],
    ])
    // The proxy does not know this name either, steps do.
    const near = [`http://near.corp.test:${target.port}/x`, `http://${pushRegistry}/v2/`, `http://${pods}:8181/ready`]
    await using context = await temporary()
    // With Go's client: busybox knows no NO_PROXY.
    await askingContext(context.path, [url, ...near], { salt: id })
    const opt = { ...node1, 'add-hosts': `near.corp.test=${net.host}` }
    const { stderr: said } = await buildctl({ addr: door.addr, context: context.path, opt })
    for (const one of [url, ...near]) expect(said).toContain(`${one}: 200 OK`)
    expect(real.requests()).toContain(`GET ${url}`)
    for (const one of near) expect(real.requests().join(' ')).not.toContain(new URL(one).host)
  })

  it('doctor shows them with the password masked, and a proxy that nobody can reach is a finding', async () => {
    const pod = (await insitu.agents()).get('node1')
    const doctor = (...args: string[]) =>
      insitu.kubectl(['-n', namespace, 'exec', pod?.name ?? '', '--', 'insitu', 'doctor', ...args])
    const shown = await waitFor(
      'the ranges of the cluster',
      async () => {
        const text = await doctor()
        if (!text.includes(net.services)) throw new Error(text)
        return text
      },
      { timeout: 60_000 },
    )
    expect(shown).toMatch(/HTTP_PROXY: +http:\/\/\*\*\*@/)
    expect(shown).not.toContain('s3cr3t')
    const report = JSON.stringify(pod?.report?.findings)
    expect(report).toContain('PROXY_UNREACHABLE')
    expect(report).not.toContain('s3cr3t')
  })

  it('buildkitd goes through it too, once its agent was restarted: files, git, an image that is pushed and pulled', async () => {
    const authority = await createAuthority()
    const names = { dnsNames: ['registry.only.test'], ipAddresses: [] }
    const tls = await certificate(authority, 'registry.only.test', [], names)
    const registry = await startRegistry({ host: net.host, tls })
    const host = `registry.only.test:${registry.address.split(':')[1]}`
    const ca = '/var/lib/buildkit/e2e-ca.pem'
    await insitu.lab.exec('node1', ['tee', ca], { input: authority.cert })
    try {
      await configure(insitu, `${await labBuildkitdToml()}\n[registry."${host}"]\n  ca = ["${ca}"]\n`)
      await behind.alsoForHttps()
      await restartAgents(insitu)
      await using context = await temporary()
      const build = async (lines: readonly string[], ...args: string[]) => {
        await writeFile(join(context.path, 'Dockerfile'), `${lines.join('\n')}\n`)
        const { stderr } = await buildctl({ ...{ addr: door.addr, context: context.path, args }, opt: node1 })
        return stderr
      }
      const git = `http://only.test:${target.port}/git/sources.git`
      const step = `RUN cat /file /git/readme # ${id}`
      const base = ['FROM busybox', `ADD ${url}/${id} /file`, `ADD ${git} /git`, step]
      const output = `--output=type=image,name=${host}/team/base:1,push=true,store=false`
      const pushed = await waitFor('a build', () => build(base, output), { timeout: 120_000 })
      expect(pushed).toContain('from-behind-the-proxyfrom git')
      expect(real.requests()).toContain(`GET ${url}/${id}`)
      expect(real.requests().filter((request) => request.includes('/git/sources.git/'))).not.toEqual([])
      expect(real.requests()).toContain(`CONNECT ${host}`)
      // Nobody but the proxy knows where that is.
      expect(await build([`FROM ${host}/team/base:1`, 'RUN cat /file && echo " of $(cat /git/readme)"'])).toContain(
        'from-behind-the-proxy of from git',
      )
    } finally {
      await configure(insitu, await labBuildkitdToml())
      await insitu.lab.exec('node1', ['rm', ca])
      await registry.stop()
    }
  })
})

it('a proxy on each node: every build goes through that of its own', async () => {
  const answer = 'by the proxy of a node'
  const target = await startHttpTarget(answer, undefined, net.host)
  const url = (node: string): string => `http://only.test:${target.port}/${id}/${node}`
  const proxies = new Map<string, HttpProxy>()
  try {
    for (const node of ['node1', 'node2']) {
      const network = { file: netnsPath(nodeNetns(node)), port: 3128 }
      const hosts = { 'only.test': net.host }
      proxies.set(node, await startHttpProxy({ hosts, address: insitu.lab.nodeIP(node), network }))
    }
    await setAgents('HTTP_PROXY=http://$(HOST_IP):3128')
    await restartAgents(insitu)
    await insitu.kubectl(['-n', namespace, 'rollout', 'status', 'ds/insitu-agent', '--timeout=170s'])
    for (const [node, own] of proxies) {
      await using context = await temporary()
      const step = `RUN wget -qO- ${url(node)} && echo " is $HTTP_PROXY $http_proxy"`
      await writeFile(join(context.path, 'Dockerfile'), `FROM busybox\n${step}\n`)
      const build = () => buildctl({ addr: door.addr, context: context.path, opt: { 'insitu.node': node } })
      const { stderr } = await waitFor(`a build on ${node}`, build, { timeout: 120_000 })
      const { url: shown } = own
      expect(shown).toBe(`http://${insitu.lab.nodeIP(node)}:3128`)
      expect(stderr).toContain(`${answer} is ${shown} ${shown}`)
    }
    for (const [node, own] of proxies) {
      expect(own.requests().filter((request) => request.includes(id))).toEqual([`GET ${url(node)}`])
    }
  } finally {
    await Promise.all([...proxies.values()].map((one) => one.stop()))
    await target.stop()
  }
})

/** Manifest and configuration of an image as text. */
async function allBlobs(name: string): Promise<string> {
  const inspect = (await insitu.lab.exec('node1', ['ctr', '-n', 'k8s.io', 'images', 'inspect', '--content', name]))
    .stdout
  const digests = [...new Set(inspect.match(/sha256:[0-9a-f]{64}/g))]
  const texts = await Promise.all(
    digests.map(
      async (d) =>
        (await insitu.lab.exec('node1', ['ctr', '-n', 'k8s.io', 'content', 'get', d], { allow: [1] })).stdout,
    ),
  )
  return [inspect, ...texts.filter((t) => t.startsWith('{'))].join('\n')
}
