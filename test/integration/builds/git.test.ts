import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Recipe } from '../../../src/api/builds/builds.ts'
import { startClient } from '../fixtures/clients.ts'
import { type GitServers, startGitServers } from '../fixtures/git-servers.ts'
import { type BuildPods, type PodInputs, type Ran, startBuildPods } from './pod.ts'
import { lfsRefused, makeRepositories, otherHostKey } from './repositories.ts'

let pods: BuildPods
let git: GitServers
let commits: string[]

beforeAll(async () => {
  ;[pods, git] = await Promise.all([startBuildPods(), startGitServers()])
  commits = await makeRepositories(git)
})
afterAll(async () => {
  await Promise.all([pods?.stop(), git?.close()])
})

const runBuild = (recipe: Recipe, secrets: PodInputs['secrets'] = {}): Promise<Ran> => pods.run(recipe, { secrets })
const source = (url: string, more: object = {}): Recipe => ({ source: { git: { url, ...more } } })
const password = () => ({ s: { username: git.user, password: git.password } })

describe('git daemon', () => {
  test.each([
    ['the default branch', {}, 'second'],
    ['a branch with a slash', { revision: 'feature/x' }, 'branched'],
    ['a tag', { revision: 'v1' }, 'first'],
  ])('%s', async (_, more, which) => {
    const ran = await runBuild(source(git.daemon('app'), more))
    expect(ran, ran.output).toMatchObject({ exitCode: 0, outcome: { result: 'succeeded' } })
    expect(ran.output).toContain(`COPY which /${which}`)
    expect(ran.outcome.commit, ran.output).toBe(commits[['first', 'second', 'branched'].indexOf(which)])
  })

  test('a commit', async () => {
    const ran = await runBuild(source(git.daemon('app'), { revision: commits[0] }))
    expect(ran, ran.output).toMatchObject({ exitCode: 0 })
    expect(ran.output).toContain('COPY which /first')
  })

  test('a sub-path is the context, and nothing above it', async () => {
    const ran = await runBuild(source(git.daemon('app'), { revision: 'v1', subPath: 'sub' }))
    expect(ran, ran.output).toMatchObject({ exitCode: 0 })
    expect(ran.output).toContain('COPY only-here-first /')
  })

  test('submodules are part of it', async () => {
    const ran = await runBuild(source(git.daemon('with-module')))
    expect(ran, ran.output).toMatchObject({ exitCode: 0 })
  })

  test('a revision that is not there is named, and a failed build', async () => {
    const ran = await runBuild(source(git.daemon('app'), { revision: 'nowhere' }))
    expect(ran).toMatchObject({ exitCode: 1, outcome: { result: 'failed' } })
    expect(ran.outcome.message).toContain('nowhere')
    expect(ran.output).toContain('insitu: whether files of the context are kept in Git LFS was not looked at: ')
  })

  test('Git LFS is refused with the files it is about; where they do not matter it is not', async () => {
    const ran = await runBuild(source(git.daemon('large')))
    expect(ran).toMatchObject({ exitCode: 1, outcome: { result: 'failed' } })
    expect(ran.outcome.message).toContain(lfsRefused)
    expect(await runBuild(source(git.daemon('large'), { subPath: 'sub' }))).toMatchObject({ exitCode: 0 })
    expect(await runBuild(source(git.daemon('large'), { lfs: 'Ignore' }))).toMatchObject({ exitCode: 0 })
  })
})

describe('HTTP with a password', () => {
  const secret = { secretName: 's' }

  test('a private repository by its Secret, and the password is nowhere to be seen', async () => {
    const image = { output: { names: ['example.test/private:v1'], push: false } }
    const ran = await runBuild({ ...source(git.http('app'), { ...secret, revision: 'v1' }), ...image }, password())
    expect(ran, ran.output).toMatchObject({ exitCode: 0, outcome: { commit: commits[0] } })
    const header = Buffer.from(`${git.user}:${git.password}`).toString('base64')
    for (const word of [git.password, header]) expect(ran.seen).not.toContain(word)
    // Provenance of every build is in the daemon's history.
    const history = await startClient('buildctl', [
      '--addr',
      pods.daemon.address,
      'debug',
      'histories',
      '--format',
      '{{json .}}',
    ]).ended
    expect(history.exitCode, history.output).toBe(0)
    for (const word of [git.password, header]) expect(history.output).not.toContain(word)
  })

  test('a URL without .git is the same', async () => {
    const ran = await runBuild(source(git.http('app').replace(/\.git$/, ''), secret), password())
    expect(ran, ran.output).toMatchObject({ exitCode: 0 })
  })

  test('a server that knows no name with .git', async () => {
    const url = git.bareHttp('app')
    const ran = await runBuild(source(url, { ...secret, revision: 'v1', subPath: 'sub' }), password())
    expect(ran, ran.output).toMatchObject({ exitCode: 0, outcome: { commit: commits[0] } })
    expect(ran.output).toContain('COPY only-here-first /')
    // Not asked by the pod: the daemon has to find it.
    const unasked = await runBuild(source(url, { ...secret, lfs: 'Ignore' }), password())
    expect(unasked, unasked.output).toMatchObject({ exitCode: 0 })
  })

  test('without it, or with a wrong one, the build fails and says why', async () => {
    for (const [more, secrets] of [
      [{}, {}],
      [secret, { s: { username: git.user, password: 'wr0ng-w0rd' } }],
    ] as const) {
      const ran = await runBuild(source(git.http('app'), more), secrets)
      expect(ran).toMatchObject({ exitCode: 1, outcome: { result: 'failed' } })
      expect(ran.outcome.message).toMatch(/could not read Username|[Aa]uthentication failed|terminal prompts disabled/)
      expect(ran.seen).not.toContain('wr0ng-w0rd')
    }
  })

  test('a Secret of another kind is refused before anything is built', async () => {
    const ran = await runBuild(source(git.http('app'), secret), { s: { other: 'x' } })
    expect(ran.outcome.message).toContain('neither password nor token nor ssh-privatekey')
  })
})

describe('SSH with a key', () => {
  const secret = (knownHosts = git.knownHosts) => ({ s: { 'ssh-privatekey': git.key, known_hosts: knownHosts } })

  test('a private repository by its Secret, and the key is nowhere to be seen', async () => {
    const ran = await runBuild(source(git.ssh('app'), { secretName: 's', revision: 'feature/x' }), secret())
    expect(ran, ran.output).toMatchObject({ exitCode: 0, outcome: { commit: commits[2] } })
    expect(ran.seen).not.toContain(git.key.split('\n')[2])
  })

  test('without it the build is refused before anything is asked', async () => {
    const ran = await runBuild(source(git.ssh('app')))
    expect(ran).toMatchObject({ exitCode: 1, outcome: { result: 'failed' } })
    expect(ran.outcome.message).toContain('there is no key for it')
  })

  test('without known_hosts it is refused, and the message says what to put there', async () => {
    const key = { s: { 'ssh-privatekey': git.key } }
    const ran = await runBuild(source(git.ssh('app'), { secretName: 's' }), key)
    expect(ran).toMatchObject({ exitCode: 1, outcome: { result: 'failed' } })
    expect(ran.outcome.message).toMatch(/Secret s needs the key known_hosts.*ssh-keyscan -p \d+ 127\.0\.0\.1/)
    const any = await runBuild(source(git.ssh('app'), { secretName: 's', hostKeys: 'AcceptAny' }), key)
    expect(any, any.output).toMatchObject({ exitCode: 0 })
  })

  test('a server with another key than its own gets nothing: neither the pod nor the daemon talk to it', async () => {
    for (const lfs of ['Refuse', 'Ignore']) {
      // What is ignored is not looked for by the pod: then it is the daemon that has to notice.
      const ran = await runBuild(source(git.ssh('app'), { secretName: 's', lfs }), secret(otherHostKey(git)))
      expect(ran, ran.output).toMatchObject({ exitCode: 1, outcome: { result: 'failed' } })
      expect(ran.outcome.message).toContain('shows is not in known_hosts of the Secret')
    }
  })

  test('submodules over ssh with the same key and the same hosts', async () => {
    const ran = await runBuild(source(git.ssh('ssh-module'), { secretName: 's' }), secret())
    expect(ran, ran.output).toMatchObject({ exitCode: 0 })
  })
})
