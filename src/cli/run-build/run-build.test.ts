import { describe, expect, it } from 'vitest'
import type { Recipe } from '../../api/builds/builds.ts'
import type { Work } from '../../api/builds/work.ts'
import { buildArguments, gitContext } from './arguments.ts'
import { followProgress, isInfrastructure } from './follow.ts'
import { dockerConfig, type RegistrySecret, unreadNote } from './registries.ts'
import { outcomeText } from './run.ts'

const work = (recipe: Recipe): Work => ({
  build: { namespace: 'n', name: 'b', uid: 'u' },
  recipe,
  gateway: { host: 'buildkitd.buildkit-system.svc', port: 2375, serverName: 'buildkitd.buildkit-system.svc' },
  ca: '',
  basicAuth: [],
})
const files = {
  ...{ tls: '/t/tls', metadata: '/t/metadata.json', context: '/t/context' },
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
  it('names the node and the commit, of an annotated tag the one it is about', () => {
    const followed = followProgress()
    followed.line('#1 [insitu] node worker-2: pod default/web waits there')
    followed.line(`#2 0.158 ${'e'.repeat(40)}\trefs/tags/v1`)
    followed.line(`#2 0.158 ${'d'.repeat(40)}\trefs/tags/v1^{}`)
    expect([followed.node, followed.commit]).toEqual(['worker-2', 'd'.repeat(40)])
  })

  it('is kept to its last lines', () => {
    const followed = followProgress()
    for (let i = 0; i < 200; i += 1) followed.line(`line ${i}`)
    expect(followed.tail(26)).toBe('line 198\nline 199')
    expect(followed.tail(27)).toBe('line 197\nline 198\nline 199')
  })

  it.each([
    ['error: failed to solve: rpc error: code = Unavailable desc = node worker-1 was lost', true],
    ['error: failed to receive status: rpc error: code = Unavailable desc = error reading from server: EOF', true],
    ['error: failed to solve: process "/bin/sh -c false" did not complete successfully: exit code: 1', false],
    ['error: failed to solve: a: failed to do request: dial tcp: connection refused', false],
    ['#5 1.0 code = Unavailable\nerror: exit code: 1', false],
    // Longer than what a status takes.
    [`error: ${'x'.repeat(5000)}: rpc error: code = Unavailable desc = node worker-1 was lost`, true],
  ])('%s: infrastructure %s', (text, expected) => {
    const followed = followProgress()
    for (const line of text.split('\n')) followed.line(line)
    expect(isInfrastructure(followed.error)).toBe(expected)
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
