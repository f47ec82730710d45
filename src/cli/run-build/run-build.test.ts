import { describe, expect, it } from 'vitest'
import type { Recipe } from '../../api/builds/builds.ts'
import type { Work } from '../../api/builds/work.ts'
import type { InsituError } from '../../kernel/errors.ts'
import { buildArguments, gitContext } from './arguments.ts'
import { followProgress, isInfrastructure } from './follow.ts'
import { checkSsh, sshHost } from './git-ssh.ts'
import { outcomeText } from './outcome-text.ts'
import { dockerConfig, type RegistrySecret, unreadNote } from './registries.ts'
import { baseRules } from './source-policy.ts'

const work = (recipe: Recipe): Work => ({
  build: { namespace: 'n', name: 'b', uid: 'u' },
  recipe,
  gateway: { host: 'buildkitd.buildkit-system.svc', port: 2375, serverName: 'buildkitd.buildkit-system.svc' },
  ca: '',
  basicAuth: [],
})
const files = {
  ...{ tls: '/t/tls', metadata: '/t/metadata.json', context: '/t/context' },
  ref: '/t/ref',
  git: new Map([['GIT_AUTH_HEADER', '/t/git-header']]),
  sshKey: undefined,
}

describe('the arguments of buildctl', () => {
  /** Every field of a recipe that concerns buildctl changes its arguments. */
  const base: Recipe = { source: { dockerfile: 'FROM a' } }
  const changes: Readonly<Record<string, readonly [Partial<Recipe>, readonly string[]]>> = {
    git: [
      { source: { git: { url: 'https://h/a', revision: 'v1', subPath: 'x/' } } },
      ['--opt', 'context=https://h/a.git#v1:x'],
    ],
    http: [{ source: { http: { url: 'http://h/a.tgz' } } }, ['--opt', 'context=http://h/a.tgz']],
    workspace: [{ source: { workspace: { subPath: 'a' } } }, ['--local', 'context=/workspace/a']],
    dockerfile: [{ dockerfile: 'a/Dockerfile' }, ['--opt', 'filename=a/Dockerfile']],
    target: [{ target: 'x' }, ['--opt', 'target=x']],
    args: [{ args: [{ name: 'A', value: 'b c,d="e"' }] }, ['--opt', 'build-arg:A=b c,d="e"']],
    platforms: [{ platforms: ['linux/amd64', 'linux/arm64'] }, ['--opt', 'platform=linux/amd64,linux/arm64']],
    names: [{ output: { names: ['a/b:1'], push: false } }, ['--output', 'type=image,name=a/b:1']],
    push: [
      { output: { names: ['a:1', 'a:2'], push: true, insecure: true } },
      ['--output', 'type=image,"name=a:1,a:2",push=true,registry.insecure=true'],
    ],
    labels: [
      { output: { names: ['a:1'], labels: { 'org.example/a': 'b=c, d', e: '' } } },
      ['--opt', 'label:org.example/a=b=c, d', '--opt', 'label:e='],
    ],
    provenance: [
      { output: { names: ['a:1'], attestations: { provenance: 'Max' } } },
      ['--opt', 'attest:provenance=mode=max'],
    ],
    sbom: [
      { output: { names: ['a:1'], attestations: { provenance: 'Min', sbom: {} } } },
      ['--opt', 'attest:provenance=mode=min', '--opt', 'attest:sbom='],
    ],
    generator: [
      { output: { names: ['a:1'], attestations: { sbom: { generator: 'r:5000/scan:1' } } } },
      ['--opt', 'attest:sbom=generator=r:5000/scan:1'],
    ],
    noCache: [{ noCache: true }, ['--no-cache']],
    cache: [{ cache: { from: ['type=registry,ref=c'] } }, ['--import-cache', 'type=registry,ref=c']],
    secrets: [
      { secrets: [{ id: 'npm', secretName: 's', key: '.npmrc' }] },
      ['--secret', 'id=npm,src=/var/run/insitu/secrets/s/.npmrc'],
    ],
    ssh: [
      { ssh: [{ id: 'default', secretName: 's', key: 'key' }] },
      ['--ssh', 'default=/var/run/insitu/secrets/s/key'],
    ],
    node: [{ node: 'node-1' }, ['--opt', 'insitu.node=node-1']],
    for: [{ for: 'deploy/web' }, ['--opt', 'insitu.for=deploy/web']],
  }
  it.each(Object.entries(changes))('%s', (_, [change, expected]) => {
    const args = buildArguments(work({ ...base, ...change }), files).join('\n')
    expect(args).toContain(expected.join('\n'))
  })

  it('ask for no attestations by themselves', () => {
    const args = buildArguments(work({ ...base, output: { names: ['a:1'] } }), files)
    expect(args.filter((arg) => arg.startsWith('attest:'))).toEqual([])
  })

  it('give names of images the digests that they shall stand for', () => {
    const bases = [{ name: 'debian:12', digest: `sha256:${'a'.repeat(64)}` }]
    const identifier = 'docker-image://docker.io/library/debian:12'
    expect(baseRules({ bases })).toEqual([
      {
        action: 'CONVERT',
        selector: { identifier, match_type: 'EXACT' },
        updates: { identifier: `${identifier}@${bases[0]?.digest}` },
      },
    ])
  })

  it('say where a secret is and not what it is', () => {
    expect(buildArguments(work(base), files)).toContain('id=GIT_AUTH_HEADER,src=/t/git-header')
  })

  it.each([
    [{ url: 'git@h:a/b.git' }, 'git@h:a/b.git'],
    [{ url: 'https://h/a.git', subPath: 'x' }, 'https://h/a.git#:x'],
    [{ url: 'git://h/a', revision: 'feature/x' }, 'git://h/a#feature/x'],
  ])('git: %j', (source, context) => {
    expect(gitContext(source)).toBe(context)
  })
})

describe('credentials for registries', () => {
  const auth = (user: string, word: string) => Buffer.from(`${user}:${word}`).toString('base64')
  const config = (...secrets: readonly Omit<RegistrySecret, 'name'>[]) =>
    dockerConfig(secrets.map((secret, i) => ({ name: `s${i}`, ...secret })))

  it('come from docker-registry Secrets as they are', () => {
    const json = JSON.stringify({ auths: { 'ghcr.io': { auth: 'x' } } })
    expect(config({ dockerConfigJson: json, servers: [] })).toEqual({ auths: { 'ghcr.io': { auth: 'x' } } })
  })

  it('and from user and password with the servers of their annotations; the first that names one wins', () => {
    const servers = ['https://index.docker.io/v1/', 'https://gcr.io', 'registry.example.com:5000']
    const { auths } = config(
      { username: 'a', password: 'b', servers },
      { username: 'c', password: 'd', servers: ['gcr.io'] },
      { username: 'nobody', password: 'asked', servers: [] },
      { dockerConfigJson: 'no json', servers: [] },
    )
    expect(auths).toEqual({
      'https://index.docker.io/v1/': { auth: auth('a', 'b') },
      'gcr.io': { auth: auth('a', 'b') },
      'registry.example.com:5000': { auth: auth('a', 'b') },
    })
  })
})

describe('Secrets whose annotations nobody may read', () => {
  const unread = { secrets: ['hub', 'json', 'token'], fix: 'kubectl …' }
  const basic = { username: 'a', password: 'very secret', servers: [] }

  it('are told by their keys: only user and password need to be read', () => {
    const secrets = [
      { name: 'json', dockerConfigJson: '{}', servers: [] },
      { name: 'token', servers: [] },
      { name: 'hub', ...basic },
      { name: 'known', ...basic },
    ]
    expect(unreadNote(secrets, unread)).toMatch(/Secret hub \(user and password\).*Allow it: kubectl …$/)
    expect(unreadNote(secrets, unread)).not.toContain('very secret')
    expect(unreadNote(secrets.slice(0, 2), unread)).toBeUndefined()
    expect(unreadNote(secrets, undefined)).toBeUndefined()
  })
})

describe('what buildctl says', () => {
  it('names the node', () => {
    const followed = followProgress()
    followed.line('#1 [insitu] node worker-2: pod default/web waits there')
    expect(followed.node).toBe('worker-2')
  })

  it('is kept to its last lines', () => {
    const followed = followProgress()
    for (let i = 0; i < 200; i += 1) followed.line(`line ${i}`)
    expect(followed.tail(26)).toBe('line 198\nline 199')
    expect(followed.tail(27)).toBe('line 197\nline 198\nline 199')
  })

  it('knows what registries have, also of a build that fails later, and of a push that took no time', () => {
    const followed = followProgress()
    const digest = `sha256:${'a'.repeat(64)}`
    followed.line(`#8 pushing manifest for r.test:5000/a:1@${digest}`)
    expect(followed.pushed.size).toBe(0)
    followed.line(`#8 pushing manifest for r.test:5000/a:1@${digest} 0.1s done`)
    followed.line(`#8 pushing manifest for r.test:5000/b:1@${digest}`)
    expect([...followed.pushed]).toEqual([['r.test:5000/a:1', digest]])
    followed.line(`#8 pushing manifest for r.test:5000/b:1@${digest} done`)
    expect([...followed.pushed.keys()]).toEqual(['r.test:5000/a:1', 'r.test:5000/b:1'])
  })

  const unavailable = 'rpc error: code = Unavailable desc ='
  it.each([
    ['a node that was lost', `error: failed to solve: ${unavailable} node worker-1 was lost`],
    ['the same, as errors with details are written', 'error: failed to solve: Unavailable: node worker-1 was lost'],
    [
      'a daemon that was killed',
      'error: failed to solve: Unavailable: node n1: the connection to its build daemon was lost',
    ],
    ['a connection that broke', `error: failed to receive status: ${unavailable} error reading from server: EOF`],
    [
      'a gateway that is not there',
      'error: failed to list workers: Unavailable: connection error: desc = "transport: Error while dialing"',
    ],
    [
      'a node without its containerd',
      `error: failed to solve: ${unavailable} connection error: dial unix /run/containerd/containerd.sock`,
    ],
    ['more text than a status takes', `error: failed to solve: ${unavailable} node worker-1 ${'x'.repeat(50_000)}`],
  ])('is infrastructure: %s', (_, text) => {
    const followed = followProgress()
    for (const line of text.split('\n')) followed.line(line)
    expect(isInfrastructure(followed.error)).toBe(true)
  })

  const source = 'error: failed to solve: docker.io/a/b:1: failed to resolve source metadata for docker.io/a/b:1:'
  it.each([
    [
      'a RUN that fails',
      'error: failed to solve: process "/bin/sh -c false" did not complete successfully: exit code: 1',
    ],
    [
      'a RUN with our words in it',
      `error: failed to solve: process "/bin/sh -c echo '${unavailable} x' && exit 1" did not complete successfully: exit code: 1`,
    ],
    [
      'a RUN that prints them',
      `#5 1.0 ${unavailable} x\nerror: failed to solve: process "/bin/sh -c x" did not complete: exit code: 1`,
    ],
    ['a wrong Dockerfile', 'error: failed to solve: dockerfile parse error on line 1: unknown instruction: FORM'],
    [
      'a registry that wants a password',
      `${source} unexpected status from HEAD request to https://r/v2/: 401 Unauthorized`,
    ],
    [
      'a registry that refuses',
      'error: failed to solve: failed to push r/a:1: push access denied: server message: 403 Forbidden',
    ],
    ['a registry that is down', `${source} unexpected status: 503 Service Unavailable`],
    [
      'a registry without a server',
      `${source} failed to do request: dial tcp 10.0.0.1:443: connect: connection refused`,
    ],
    [
      'a registry that hangs up',
      `${source} failed to do request: read tcp 10.0.0.1:443: read: connection reset by peer`,
    ],
    ['a registry that stops half-way', `${source} failed to copy: unexpected EOF`],
    ['a token server that is none', `${source} failed to fetch anonymous token: ${unavailable} no`],
    [
      'a revision that is not there',
      'error: failed to solve: failed to read dockerfile: repository does not contain ref v9',
    ],
    [
      'a file that is not in the context',
      'error: failed to solve: failed to compute cache key: "/Unavailable: x": not found',
    ],
    ['the policy', 'error: failed to solve: PermissionDenied: the policy allows no names there'],
    ['nothing', ''],
  ])('is a failed build: %s', (_, text) => {
    const followed = followProgress()
    for (const line of text.split('\n')) followed.line(line)
    expect(isInfrastructure(followed.error)).toBe(false)
  })

  it('is there when the last line alone is too long: its end says how it failed', () => {
    const followed = followProgress()
    followed.line(`error: process "/bin/sh -c ${'x'.repeat(50_000)}" did not complete: exit code: 7`)
    const tail = followed.tail(3000)
    expect(tail).toMatch(/did not complete: exit code: 7$/)
    expect(Buffer.byteLength(tail)).toBe(3000)
  })

  it('leaves out names that do not fit: the digest is worth more', () => {
    const names = Array.from({ length: 16 }, (_, i) => `${i}${'n'.repeat(500)}`)
    const text = outcomeText({ result: 'succeeded', digest: 'sha256:a', names })
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(4096)
    expect(JSON.parse(text)).toMatchObject({ result: 'succeeded', digest: 'sha256:a' })
  })

  it('fits into a termination message, whatever it holds', () => {
    const message = `${'\u0001"ü'.repeat(3000)}the end`
    const text = outcomeText({ result: 'failed', message })
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(4096)
    expect((JSON.parse(text) as { message: string }).message).toMatch(/the end$/)
  })
})

describe('git over ssh', () => {
  const git = (more: object = {}, rest: Partial<Recipe> = {}): Recipe => ({
    source: { git: { url: 'ssh://git@git.test:2222/a.git', secretName: 's', ...more } },
    ...rest,
  })
  const key = { header: undefined, sshKey: '/s/ssh-privatekey', knownHosts: undefined }
  const known = { ...key, knownHosts: '[git.test]:2222 ssh-ed25519 AAAA' }

  it.each([
    ['ssh://git@h:22/a', { host: 'h', port: '22' }],
    ['ssh://h/a', { host: 'h', port: undefined }],
    ['ssh://git@[::1]:22/a', { host: '::1', port: '22' }],
    ['git@h.test:a/b.git', { host: 'h.test', port: undefined }],
    ['https://h/a', undefined],
    ['git://h/a', undefined],
  ])('%s', (url, expected) => {
    expect(sshHost(url)).toEqual(expected)
  })

  it('needs a key, and the keys of hosts unless any will do', () => {
    expect(() => checkSsh(git(), undefined)).toThrow('there is no key for it')
    expect(() => checkSsh(git(), key)).toThrow('Secret s needs the key known_hosts')
    expect(() => checkSsh(git({ hostKeys: 'AcceptAny' }), key)).not.toThrow()
    expect(() => checkSsh(git(), known)).not.toThrow()
    const other = { ssh: [{ id: 'default', secretName: 'k', key: 'k' }] }
    expect(() => checkSsh(git({}, other), { ...known, sshKey: undefined })).not.toThrow()
    expect(() => checkSsh({ source: { git: { url: 'https://h/a' } } }, undefined)).not.toThrow()
  })

  it('says how to come by them', () => {
    const fix = (): string => {
      try {
        checkSsh(git(), key)
        return ''
      } catch (error) {
        return (error as InsituError).fix ?? ''
      }
    }
    expect(fix()).toContain('"ssh-keyscan -p 2222 git.test"')
  })

  it('gives buildctl the rule that the daemon keeps to', () => {
    const args = buildArguments(work(git()), { ...files, sourcePolicy: '/t/source-policy.json' })
    expect(args.join(' ')).toContain('--source-policy-file /t/source-policy.json')
  })
})
