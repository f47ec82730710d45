import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startBusyRegistry } from '../integration/fixtures/busy-registry.ts'
import { type Client, startClient } from '../integration/fixtures/clients.ts'
import { stubbornContext } from '../integration/fixtures/frontend-image.ts'
import { sleepers } from '../integration/fixtures/processes.ts'
import { type Registry, registryUser, startRegistry } from '../integration/fixtures/registry.ts'
import { net, pushRegistry } from '../lab/lab.ts'
import { silent } from '../lab/progress.ts'
import { switchOff, switchOn } from '../lab/reboot.ts'
import { waitFor } from '../lab/wait.ts'
import { both, endForeign, ensureForeign, first, foreign, second } from './fixtures/foreign.ts'
import { buildArguments, buildctl, type BuildOptions, type Installed, temporary } from './fixtures/insitu.ts'
import { holders } from './fixtures/node-images.ts'
import { gatewayPod, portForward } from './fixtures/port-forward.ts'

// Builds of two platforms on two nodes: what all of their parts share, and how they end when one part cannot go on.

const id = randomBytes(3).toString('hex')
let insitu: Installed
let door: Awaited<ReturnType<typeof portForward>>
let registry: Registry

beforeAll(async () => {
  insitu = await ensureForeign()
  registry = await startRegistry({ host: net.host, user: registryUser, memory: true })
  door = await portForward(insitu.lab)
})
afterAll(async () => {
  await door?.[Symbol.asyncDispose]()
  await registry?.stop()
  await endForeign()
})

const pushed = (name: string): string => `type=image,"name=${name}",push=true,registry.insecure=true`

/** A directory as DOCKER_CONFIG, with a password for the registry. */
async function dockerConfig(parent: string, registry: string, password: string): Promise<string> {
  const directory = join(parent, password)
  await mkdir(directory)
  const auth = Buffer.from(`${registryUser.name}:${password}`).toString('base64')
  await writeFile(join(directory, 'config.json'), JSON.stringify({ auths: { [registry]: { auth } } }))
  return directory
}

it('one session serves all parts: context, secret, ssh agent; the index is pushed with its password, not without', async () => {
  await using context = await temporary()
  await using home = await temporary()
  // It refuses the first manifest, as one does at which two nodes push at once.
  await using busy = await startBusyRegistry(registry.address, net.host)
  await writeFile(join(context.path, 'note'), 'a note')
  await writeFile(
    join(context.path, 'Dockerfile'),
    [
      'FROM busybox:multi',
      'COPY note /note',
      `RUN --mount=type=ssh --mount=type=secret,id=s test -S "$SSH_AUTH_SOCK" && echo "$(uname -m) of ${id} reads $(cat /note) $(cat /run/secrets/s)"`,
      '',
    ].join('\n'),
  )
  const [secret, socket] = [join(home.path, 'secret'), join(home.path, 'agent.sock')]
  await writeFile(secret, 'whispered')
  const agent = startClient('/usr/bin/ssh-agent', ['-D', '-a', socket])
  const build = async (tag: string, password: string) => {
    const args = ['--output', pushed(`${busy.address}/${id}/app:${tag}`), '--ssh=default']
    const env = { SSH_AUTH_SOCK: socket, DOCKER_CONFIG: await dockerConfig(home.path, busy.address, password) }
    const opt = { platform: `${both},linux/arm/v7` }
    const asked: BuildOptions = { addr: door.addr, context: context.path, opt, env, allow: [1] }
    return buildctl({ ...asked, args: [...args, `--secret=id=s,src=${secret}`] })
  }
  try {
    await waitFor('the ssh agent', () => existsSync(socket) || undefined, { timeout: 60_000 })
    const { exitCode, stderr } = await build('v1', registryUser.password)
    expect(exitCode, stderr).toBe(0)
    expect(stderr).toContain(`[insitu] node ${foreign} builds linux/arm64: `)
    // What nobody runs natively is emulated beside the first.
    expect(stderr).toMatch(/\[insitu\] node node[12] builds linux\/amd64, linux\/arm\/v7: /)
    for (const machine of ['x86_64', 'aarch64', 'armv[78]l'])
      expect(stderr).toMatch(new RegExp(`\\d ${machine} of ${id} reads a note whispered`))
    expect(busy.refused()).toBe(1)
    expect(stderr).toMatch(/\[insitu\] node node[123] pushes again: /)
    expect((await registry.manifest(`${id}/app`, 'v1'))?.['manifests']).toHaveLength(3)

    const wrong = await build('v2', 'a-wrong-one')
    expect(wrong.exitCode).toBe(1)
    expect(wrong.stderr).toMatch(/401|authorization|unauthorized/i)
    expect(await registry.manifest(`${id}/app`, 'v2')).toBeUndefined()
  } finally {
    agent.kill('SIGTERM')
    await agent.ended
  }
})

it('a frontend that is named in Solve itself is split too, and its answer has the digest of the index', async () => {
  await using context = await temporary()
  const name = `registry.example.test/${id}/solve:v1`
  await writeFile(join(context.path, 'Dockerfile'), `FROM busybox:multi\nRUN echo ${id} solved on $(uname -m)\n`)
  const args = [`-addr=${door.addr}`, `-context=${context.path}`, `-image=${name}`, `platform=${both}`]
  const { exitCode, output } = await startClient('probe', ['solve', ...args]).ended
  expect(exitCode, output).toBe(0)
  for (const machine of ['x86_64', 'aarch64']) expect(output).toContain(`${id} solved on ${machine}\n`)
  const digest = /^digest (\S+)$/m.exec(output)?.[1]
  const found = await holders(insitu.lab, name)
  expect(found.get(foreign)).toBe(digest)
  expect([found.get(first), found.get(second)]).toContain(digest)
})

it('a client that puts platforms together itself gets them from one node, which says why', async () => {
  const name = `${pushRegistry}/${id}/combined:v1`
  const args = [`-addr=${door.addr}`, `-image=${name}`, '-push', `platform=${both}`, `-salt=${id}`]
  const { exitCode, output } = await startClient('probe', ['combine', ...args]).ended
  expect(exitCode, output).toBe(0)
  expect(output).toMatch(
    /\[insitu\] node node\d: .*\(not split between 2 nodes, because the client puts platforms together itself\)/,
  )
  for (const platform of both.split(',')) expect(output).toContain(`graph for ${platform}\n`)
})

/** Nothing of a build that has failed is anywhere: no step, no tag, no name on a node. */
async function nothingLeft(repository: string, seconds: number): Promise<void> {
  await waitFor('every part to end', () => sleepers(seconds) === 0 || undefined, { timeout: 120_000 })
  await nothingNamed(repository)
}

async function nothingNamed(repository: string): Promise<void> {
  const accept = 'application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json'
  const answer = await fetch(`http://${pushRegistry}/v2/${repository}/manifests/v1`, { headers: { accept } })
  expect(answer.status).toBe(404)
  expect([...(await holders(insitu.lab, `${pushRegistry}/${repository}:v1`)).keys()]).toEqual([])
}

/** Seconds that no other test of this machine sleeps. */
const uncommon = (base: number): number => base * 10_000 + (process.pid % 10_000)

describe('the first failure', () => {
  it.each(['stays', 'is pushed'])('ends all parts and is what the client reads: an image that %s', async (what) => {
    const seconds = uncommon(11)
    const repository = `${id}/${what === 'stays' ? 'stays' : 'pushed'}`
    const name = `${pushRegistry}/${repository}:v1`
    await using context = await temporary()
    await writeFile(
      join(context.path, 'Dockerfile'),
      `FROM busybox:multi\nLABEL name=${name}\nRUN if [ $(uname -m) = aarch64 ]; then echo it breaks here; exit 7; fi; sleep ${seconds}; true\n`,
    )
    const output = what === 'stays' ? `type=image,"name=${name}"` : pushed(name)
    const asked = { addr: door.addr, context: context.path, opt: { platform: both }, args: ['--output', output] }
    const { exitCode, stderr } = await buildctl({ ...asked, allow: [1] })
    expect(exitCode).toBe(1)
    expect(stderr).toContain('it breaks here')
    expect(stderr).toMatch(/did not complete successfully: exit code: 7/)
    await nothingLeft(repository, seconds)
  })
})

describe('a frontend that makes what it wants, and so two images of one platform', () => {
  const image = `${pushRegistry}/${id}/stubborn:1`
  beforeAll(async () => {
    await using context = await temporary()
    await stubbornContext(context.path)
    // For both: a node looks for a frontend of its own platform.
    const args = ['--output', pushed(image)]
    await buildctl({ addr: door.addr, context: context.path, opt: { platform: both }, args })
  })

  it.each(['stays', 'is pushed'])('is refused with the nodes and both digests; nothing of it %s', async (what) => {
    const repository = `${id}/twice-${what === 'stays' ? 'stays' : 'pushed'}`
    const name = `${pushRegistry}/${repository}:v1`
    await using context = await temporary()
    await writeFile(join(context.path, 'Dockerfile'), 'FROM scratch\n')
    const args = ['--frontend=gateway.v0', `--opt=source=${image}`]
    const output = ['--output', what === 'stays' ? `type=image,"name=${name}"` : pushed(name)]
    const asked = { addr: door.addr, context: context.path, opt: { platform: both }, args: [...args, ...output] }
    const { exitCode, stderr } = await buildctl({ ...asked, allow: [1] })
    expect(exitCode, stderr).toBe(1)
    const digest = 'sha256:[0-9a-f]{64}'
    expect(stderr).toMatch(
      new RegExp(`nodes node\\d and node\\d made different images for linux/a\\w+64: ${digest} and ${digest}`),
    )
    expect(stderr).toContain('to fix it: ask for each platform once')
    await nothingNamed(repository)
  })
})

describe('half-way, when all parts run', () => {
  /** Starts a client, waits until both parts have reached a step that sleeps. */
  async function asleep(seconds: number, start: (context: string, name: string) => Client) {
    const context = await temporary()
    const repository = `${id}/asleep-${seconds}`
    await writeFile(
      join(context.path, 'Dockerfile'),
      `FROM busybox:multi\nLABEL of=${repository}\nRUN echo begins; sleep ${seconds}; true\n`,
    )
    const client = start(context.path, `${pushRegistry}/${repository}:v1`)
    let over = false
    void client.ended.then(() => (over = true))
    const stop = async (): Promise<void> => {
      client.kill('SIGKILL')
      await context[Symbol.asyncDispose]()
    }
    const sleep = await waitFor(
      'both parts to sleep',
      () => sleepers(seconds) === 2 || (over ? client.output() : undefined),
      { timeout: 180_000 },
    ).catch(async (error: unknown) => {
      await stop()
      throw error
    })
    expect(sleep).toBe(true)
    return { client, repository, [Symbol.asyncDispose]: stop }
  }
  const plain =
    (addr: string) =>
    (context: string, name: string): Client =>
      startClient(
        'buildctl',
        buildArguments({ addr, context, opt: { platform: both }, args: ['--output', pushed(name)] }),
      )

  it('a client that loses its session reads so; every part ends and nothing is pushed', async () => {
    const seconds = uncommon(12)
    await using build = await asleep(seconds, (context, name) =>
      startClient('probe', [
        ...['solve', `-addr=${door.addr}`, `-context=${context}`, `-image=${name}`, '-push'],
        `platform=${both}`,
      ]),
    )
    build.client.kill('SIGUSR1')
    const { exitCode, output } = await build.client.ended
    expect(exitCode).toBe(1)
    expect(output).toContain('the session of the client, through which it serves the build, was lost')
    await nothingLeft(build.repository, seconds)
  })

  it('a client that goes away ends every part', async () => {
    const seconds = uncommon(13)
    await using build = await asleep(seconds, plain(door.addr))
    build.client.kill('SIGKILL')
    expect(await build.client.ended).toMatchObject({ signal: 'SIGKILL' })
    await nothingLeft(build.repository, seconds)
  })

  it('a node that is lost ends the build with its name, and the other part; nothing is pushed', async () => {
    const seconds = uncommon(14)
    const gateway = await gatewayPod(insitu, foreign)
    await using stays = await portForward(insitu.lab, `pod/${gateway.name}`)
    await using build = await asleep(seconds, plain(stays.addr))
    await switchOff(foreign)
    try {
      const { exitCode, output } = await build.client.ended
      expect(exitCode).toBe(1)
      expect(output).toMatch(
        new RegExp(`node ${foreign}(: the connection to its build daemon was lost| has stopped to answer)`),
      )
    } finally {
      await switchOn(foreign, silent)
    }
    await nothingLeft(build.repository, seconds)
  })
})
