import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { daemonEnvironment } from '../../src/agent/buildkitd/environment.ts'
import { bareRepository } from './fixtures/bare-repository.ts'
import { createWorkspace, type Workspace } from './fixtures/context.ts'
import { type FrontDoor, openFrontDoor, type Person } from './fixtures/front-door.ts'
import { frontendContext } from './fixtures/frontend-image.ts'
import { type HttpProxy, startHttpProxy } from './fixtures/http-proxy.ts'
import { type HttpTarget, startHttpTarget } from './fixtures/http-target.ts'
import { startClient } from './fixtures/clients.ts'
import { tool } from './fixtures/paths.ts'
import { type Registry, startRegistry } from './fixtures/registry.ts'

// Steps and daemons behind a real proxy: the names of what they want are known to the proxy only. `open.test` wants no
// password, `locked.test` does; the daemon's own fetches go through the first.

const secret = 's3cr3t-of-the-proxy'
let open: HttpProxy
let locked: HttpProxy
let target: HttpTarget
let registry: Registry
let repositories: Workspace
let door: FrontDoor
let alice: Person
/** `http://only.test:PORT/x`, which nobody but the proxies can resolve. */
let hidden: string
/** `http://direct.test:PORT/x`, which steps can resolve and the proxies cannot. */
let direct: string
let port: number
/** What red's agent has in its environment. Tests change it. */
const proxy: Record<string, string> = {}
/** What the ConfigMap of the namespace `team` has. */
const ofTeam: Record<string, string> = {}

beforeAll(async () => {
  registry = await startRegistry()
  repositories = await createWorkspace()
  const served = await repositories.directory()
  await bareRepository(served)
  target = await startHttpTarget('from-behind-the-proxy', served)
  port = target.port
  const hosts = { 'only.test': '127.0.0.1', 'registry.only.test': '127.0.0.1' }
  ;[open, locked] = await Promise.all([
    startHttpProxy({ hosts }),
    startHttpProxy({ hosts, login: { user: 'builder', password: secret } }),
  ])
  ;[hidden, direct] = [`http://only.test:${port}/x`, `http://direct.test:${port}/x`]
  Object.assign(proxy, { HTTP_PROXY: locked.url, https_proxy: locked.url, NO_PROXY: '.direct.test,direct.test' })
  const registryPort = registry.address.split(':')[1]
  door = await openFrontDoor({
    config: { proxy: true, defaults: true },
    proxy,
    proxies: {
      sources: (namespace) => (namespace === 'team' ? [{ name: 'the ConfigMap of team', variables: ofTeam }] : []),
      exceptions: () => [],
      own: {},
    },
    daemons: {
      config: `[registry."registry.only.test:${registryPort}"]\nhttp = true\n`,
      // As an agent whose environment has it starts it.
      env: proxiesOfDaemon({ HTTP_PROXY: open.url, HTTPS_PROXY: open.url }),
    },
  })
  alice = await door.person('alice')
})
afterAll(async () => {
  await door?.stop()
  await Promise.all([open?.stop(), locked?.stop(), target?.stop(), registry?.stop()])
  await repositories?.remove()
})

/** A context with the program that fetches. */
const contextOf = (dockerfile: string): Promise<string> =>
  door.work.context(`COPY --chmod=755 probe /bin/probe\n${dockerfile}`, { probe: readFileSync(tool('probe')) })

const dockerfile = (context: string, args: readonly string[] = []): readonly string[] => [
  ...['build', '--progress=plain', '--frontend=dockerfile.v0', '--opt=insitu.node=red'],
  ...[`--local=context=${context}`, `--local=dockerfile=${context}`, ...args],
]
const fetches = (salt: string): string => `RUN probe get ${hidden} ${direct} # ${salt}\n`
const addHost = '--opt=add-hosts=direct.test=127.0.0.1'
const answered = (url: string): string => `${url}: 200 OK from-behind-the-proxy`

describe('a step reaches through the proxy what it can reach only there, and NO_PROXY passes it by', () => {
  const expectReached = (result: { exitCode: number | null; output: string }): void => {
    expect(result, result.output).toMatchObject({ exitCode: 0 })
    expect(result.output).toContain(answered(hidden))
    expect(result.output).toContain(answered(direct))
    expect(locked.requests().some((r) => r.includes(direct))).toBe(false)
  }

  test('frontend of the daemon, with a password', async () => {
    const before = locked.requests().length
    expectReached(await alice.buildctl(dockerfile(await contextOf(fetches('built in')), [addHost])))
    expect(locked.requests().slice(before)).toContain(`GET ${hidden}`)
  })

  test('without a proxy it fails, so it is the proxy that makes it work', async () => {
    const context = await contextOf(fetches('off'))
    const off = await alice.buildctl(dockerfile(context, [addHost, '--opt=insitu.proxy=off']))
    expect(off.exitCode).not.toBe(0)
    expect(off.output).toMatch(/only\.test/)
    const wrong = await alice.buildctl(dockerfile(context, ['--opt=insitu.proxy=of']))
    expect(wrong.output).toContain('insitu.proxy cannot be "of"; to fix it: use off')
  })

  test('the client’s own proxy, and its list of exceptions', async () => {
    const before = open.requests().length
    const own = [`--opt=build-arg:http_proxy=${open.url}`, '--opt=build-arg:NO_PROXY=nothing.test', addHost]
    const result = await alice.buildctl(dockerfile(await contextOf(`RUN probe get ${hidden} # own\n`), own))
    expect(result, result.output).toMatchObject({ exitCode: 0 })
    expect(open.requests().slice(before)).toContain(`GET ${hidden}`)
    // Now the name that the proxy does not know is asked of the proxy.
    const lost = await alice.buildctl(dockerfile(await contextOf(`RUN probe get ${direct} # own\n`), own))
    expect(lost.exitCode).not.toBe(0)
    expect(open.requests()).toContain(`GET ${direct}`)
  })

  test('that of the caller’s namespace', async () => {
    Object.assign(ofTeam, { HTTP_PROXY: open.url, FTP_PROXY: 'http://ftp.test:1', ALL_PROXY: 'http://all.test:1' })
    const context = await contextOf(`RUN probe get ${hidden}?team && env | grep -i _proxy= | sort\n`)
    const before = [open, locked].map((one) => one.requests().length)
    const builder = await door.account('team', 'builder')
    const result = await builder.buildctl(dockerfile(context))
    expect(result, result.output).toMatchObject({ exitCode: 0 })
    expect(open.requests().slice(before[0])).toContain(`GET ${hidden}?team`)
    expect(locked.requests().slice(before[1])).not.toContain(`GET ${hidden}?team`)
    for (const [name, value] of Object.entries({ ...proxy, ...ofTeam })) {
      for (const either of [name.toUpperCase(), name.toLowerCase()])
        expect(result.output).toContain(`${either}=${value}\n`)
    }
    // Alice is of no namespace; her build has the cache of the other one, whose proxy was another.
    const other = await alice.buildctl(dockerfile(context))
    expect(other.output).toMatch(/RUN probe get[^\n]*\n#\d+ CACHED/)
  })

  test('buildx bake', async () => {
    const context = await contextOf(fetches('bake'))
    const file = join(await door.work.directory(), 'bake.hcl')
    writeFileSync(
      file,
      ['a', 'b']
        .map(
          (name) => `target "${name}" {
  context = "${context}"
  args = { "insitu.node" = "red", WHO = "${name}" }
  extra-hosts = { "direct.test" = "127.0.0.1" }
  output = ["type=cacheonly"]
}
`,
        )
        .join(''),
    )
    const before = locked.requests().length
    expectReached(await alice.buildx(['bake', '--progress=plain', `--allow=fs.read=${context}`, '-f', file, 'a', 'b']))
    expect(locked.requests().slice(before)).toContain(`GET ${hidden}`)
  })

  test('frontend in an image (gateway.v0), as source and as syntax', async () => {
    const image = `${registry.address}/docker/dockerfile:1`
    const frontend = await door.work.directory()
    await frontendContext(frontend)
    const pushed = await alice.buildctl(dockerfile(frontend, [`--output=type=image,name=${image},push=true`]))
    expect(pushed, pushed.output).toMatchObject({ exitCode: 0 })
    const context = await contextOf(fetches('gateway.v0'))
    const source = [...['--opt=insitu.node=red', `--opt=source=${image}`, addHost]]
    const local = [`--local=context=${context}`, `--local=dockerfile=${context}`]
    expectReached(await alice.buildctl(['build', '--progress=plain', '--frontend=gateway.v0', ...source, ...local]))
    const named = await contextOf(fetches('syntax'))
    writeFileSync(join(named, 'Dockerfile'), `# syntax=${image}\n${readFileSync(join(named, 'Dockerfile'), 'utf8')}`)
    expectReached(await alice.buildctl(dockerfile(named, [addHost])))
  })

  test('a process that a client starts in a container of its own', async () => {
    const result = await startClient('probe', [
      ...['exec', `-addr=unix://${await adminSocket()}`, '-script', 'env', 'insitu.node=red'],
    ]).ended
    expect(result, result.output).toMatchObject({ exitCode: 0 })
    for (const name of ['HTTP_PROXY', 'http_proxy', 'HTTPS_PROXY', 'https_proxy']) {
      expect(result.output).toContain(`${name}=${locked.url}\n`)
    }
    // Its own stays, in either case.
    expect(result.output).toContain('FTP_PROXY=http://own.test:3')
    expect(result.output).not.toContain('ftp_proxy')
    const off = await startClient('probe', [
      ...['exec', `-addr=unix://${await adminSocket()}`, '-script', 'env', 'insitu.node=red', 'insitu.proxy=off'],
    ]).ended
    expect(off.output).toContain('FTP_PROXY=http://own.test:3')
    expect(off.output).not.toMatch(/https?_proxy/i)
  })
})

const adminSocket = (): Promise<string> => Promise.resolve(door.admin.replace('unix://', ''))

test('raw LLB of BuildKit’s own library: every step gets the variables, its own win, descriptions stay', async () => {
  const graph = join(await door.work.directory(), 'graph')
  const definition = startClient('/bin/sh', [
    '-c',
    '"$0" graph -script "env | grep -i _proxy= | sort" > "$1"',
    tool('probe'),
    graph,
  ])
  expect((await definition.ended).exitCode).toBe(0)
  const build = (more: readonly string[] = []) =>
    alice.buildctl(['build', '--progress=plain', '--local=bin=/bin', '--opt=insitu.node=red', ...more], {
      input: graph,
    })
  const first = await build()
  expect(first, first.output).toMatchObject({ exitCode: 0 })
  const said = (name: string, line: string): void => {
    const step = new RegExp(`#(\\d+) step ${name}\\n`).exec(first.output)?.[1]
    expect(first.output).toMatch(new RegExp(`#${step} [0-9.]+ ${line.replaceAll(/[.?*+]/g, '\\$&')}\\n`))
  }
  said('first', `HTTP_PROXY=${locked.url}`)
  said('first', `https_proxy=${locked.url}`)
  said('second', `https_proxy=${locked.url}`)
  said('second', 'http_proxy=http://own.test:1')
  said('third', 'http_proxy=http://own.test:2')
  said('third', `NO_PROXY=${proxy['NO_PROXY']}`)
  // Another proxy is another graph for the daemon, and the same steps.
  const other = await build(['--opt=build-arg:HTTPS_PROXY=http://other.test:1'])
  expect(other, other.output).toMatchObject({ exitCode: 0 })
  expect(other.output.match(/#\d+ step (first|second|third)\n#\d+ CACHED/g)).toHaveLength(3)
})

describe('what the daemon fetches itself goes through the proxy of its environment', () => {
  test('an image', async () => {
    const base = await contextOf('RUN true # base\n')
    const name = `${registry.address}/team/base:1`
    const pushed = await alice.buildctl(dockerfile(base, [`--output=type=image,name=${name},push=true`]))
    expect(pushed, pushed.output).toMatchObject({ exitCode: 0 })
    const context = await door.work.directory()
    const behind = `registry.only.test:${registry.address.split(':')[1]}/team/base:1`
    writeFileSync(join(context, 'Dockerfile'), `FROM ${behind}\nRUN probe get ${hidden}\n`)
    const result = await alice.buildctl(dockerfile(context))
    expect(result, result.output).toMatchObject({ exitCode: 0 })
    expect(open.requests().some((r) => r.includes('registry.only.test') && r.includes('/manifests/'))).toBe(true)
  })

  test('a file for ADD and a git repository', async () => {
    const context = await contextOf(
      `ADD http://only.test:${port}/file /file\nADD http://only.test:${port}/git/sources.git /git\n` +
        'RUN cat /file /git/readme\n',
    )
    const result = await alice.buildctl(dockerfile(context))
    expect(result, result.output).toMatchObject({ exitCode: 0 })
    expect(result.output).toContain('from-behind-the-proxyfrom git')
    expect(open.requests().filter((r) => r.includes('/file'))).not.toEqual([])
    expect(open.requests().filter((r) => r.includes('/git/sources.git/'))).not.toEqual([])
  })
})

describe('proxies are never in what stays', () => {
  test('image, history and cache key, also of a Dockerfile that declares the arguments', async () => {
    const context = await contextOf(
      'ARG HTTP_PROXY\nARG http_proxy\nARG https_proxy\nRUN probe get "$@" && echo $RANDOM > /random\n',
    )
    const tar = join(await door.work.directory(), 'image.tar')
    const output = `--output=type=oci,dest=${tar},compression=uncompressed`
    const provenance = '--opt=attest:provenance=mode=min'
    const first = await alice.buildctl(dockerfile(context, [output, provenance]))
    expect(first, first.output).toMatchObject({ exitCode: 0 })
    const image = documents(readFileSync(tar))
    expect(image).toContain('in-toto')
    expect(image).not.toContain(secret)
    expect(image).not.toMatch(/proxy=http/i)
    expect(first.output).not.toContain('[insitu] provenance')
    proxy['HTTP_PROXY'] = open.url
    try {
      const second = await alice.buildctl(dockerfile(context, [output]))
      expect(second.output).toMatch(/RUN probe get[^\n]*\n#\d+ CACHED/)
    } finally {
      proxy['HTTP_PROXY'] = locked.url
    }
  })

  test.for(['buildctl', 'buildx'])(
    'full provenance becomes minimal, and %s says so; without a proxy it is full',
    async (client) => {
      const context = await contextOf(`RUN probe get ${hidden} # max ${client}\nARG IT=default\nRUN test "$IT" = set\n`)
      const build = async (...more: readonly string[]) => {
        const tar = join(await door.work.directory(), 'image.tar')
        const output = `--output=type=oci,dest=${tar},compression=uncompressed`
        const result = await (client === 'buildctl'
          ? alice.buildctl(
              dockerfile(context, [
                output,
                '--opt=attest:provenance=mode=max',
                '--opt=build-arg:IT=set',
                ...more.map((m) => `--opt=${m}`),
              ]),
            )
          : alice.buildx([
              ...['build', '--progress=plain', '--provenance=mode=max', '--build-arg=IT=set', output],
              ...['--build-arg=insitu.node=red', ...more.map((m) => `--build-arg=${m}`), context],
            ]))
        expect(result, result.output).toMatchObject({ exitCode: 0 })
        return { output: result.output, image: documents(readFileSync(tar)) }
      }
      const short = await build()
      expect(short.output).toContain('[insitu] provenance is mode=min')
      expect(short.image).toContain('slsa.dev/provenance')
      expect(short.image).not.toContain('build-arg:IT')
      for (const trace of [secret, 'build-arg:Http', 'proxy_env', 'proxyEnv']) expect(short.image).not.toContain(trace)
      const full = await build('insitu.proxy=off')
      expect(full.output).not.toContain('[insitu] provenance')
      expect(full.image).toContain('build-arg:IT')
    },
  )

  test('records of builds: options, provenance, logs, what buildx shows and exports', async () => {
    const context = await contextOf(`RUN probe get ${hidden} # record\n`)
    const metadata = join(await door.work.directory(), 'metadata.json')
    const result = await alice.buildx([
      ...['build', '--progress=plain', `--metadata-file=${metadata}`, '--build-arg=insitu.node=red'],
      ...[`--build-arg=HTTPS_PROXY=http://client:${secret}@own.test:1`, '-o', 'type=cacheonly', context],
    ])
    expect(result, result.output).toMatchObject({ exitCode: 0 })
    const { 'buildx.build.ref': whole } = JSON.parse(readFileSync(metadata, 'utf8')) as Record<string, string>
    const ref = whole?.split('/').at(-1) ?? ''
    const records = await alice.buildctl(['debug', 'histories', '--format={{json .}}'])
    const record = records.output.split('\n').find((line) => line.includes(ref))
    expect(record).toContain('insitu.node')
    expect(record).not.toMatch(/_proxy/i)
    expect(records.output).not.toContain(secret)
    for (const args of [
      ['inspect', ref],
      ['inspect', 'attachment', '--type=provenance', ref],
      ['logs', ref],
    ]) {
      const shown = await alice.buildx(['history', ...args])
      expect(shown, shown.output).toMatchObject({ exitCode: 0 })
      expect(shown.output).not.toMatch(/s3cr3t|build-arg:https?_proxy|proxy_env/i)
    }
    const provenance = await alice.buildx(['history', 'inspect', 'attachment', '--type=provenance', ref])
    expect(JSON.parse(provenance.output.slice(provenance.output.indexOf('{')))).toHaveProperty('buildDefinition')
    const bundle = join(await door.work.directory(), 'build.tar')
    const exported = await alice.buildx(['history', 'export', '-o', bundle, ref])
    expect(exported, exported.output).toMatchObject({ exitCode: 0 })
    const unpacked = documents(gunzipSync(readFileSync(bundle)))
    expect(unpacked).toContain('slsa')
    expect(unpacked).not.toContain(secret)
  })

  test('logs and metrics of the gateway', () => {
    expect(door.gateway.log()).toContain('build ended')
    expect(door.gateway.log() + door.gateway.metrics()).not.toContain(secret)
  })
})

test.for([
  {
    name: 'build argument',
    args: [`--opt=build-arg:HTTPS_PROXY=http://user:${secret}`],
    says: 'the build argument HTTPS_PROXY is not a URL',
  },
  { name: 'agent', args: [], says: "node red: the agent's variable HTTP_PROXY is not a URL" },
])('a proxy that is no address is refused with a sentence without it: $name', async ({ name, args, says }) => {
  if (name === 'agent') proxy['HTTP_PROXY'] = `http://user:${secret}`
  try {
    const result = await alice.buildctl(dockerfile(await contextOf('RUN true\n'), args))
    expect(result.exitCode).not.toBe(0)
    expect(result.output).toContain(says)
    expect(result.output).toContain('to fix it: write http://HOST:PORT')
    expect(result.output).not.toContain(secret)
  } finally {
    proxy['HTTP_PROXY'] = locked.url
  }
})

/** The JSON files of a tar, as text: layers have programs in them, with all sorts of words. */
function documents(tar: Buffer): string {
  const found: string[] = []
  for (let at = 0; at + 512 <= tar.length;) {
    const size = parseInt(tar.toString('latin1', at + 124, at + 135), 8) || 0
    const text = tar.subarray(at + 512, at + 512 + size)
    if (text[0] === 0x7b) found.push(text.toString())
    at += 512 + Math.ceil(size / 512) * 512
  }
  return found.join('\n')
}

function proxiesOfDaemon(env: Readonly<Record<string, string>>): Record<string, string> {
  const { TMPDIR: _, ...proxies } = daemonEnvironment(env, '/tmp')
  return proxies
}
