import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describeError, InsituError } from '../../kernel/errors.ts'
import { readOptional } from '../../kernel/fs/read-optional.ts'
import { run } from '../../kernel/process/run.ts'
import type { GitCredentials, GitSource } from './arguments.ts'
import { wrongHostKey } from './git-ssh.ts'
import { gitUrl } from './git-url.ts'

/**
 * Reads the mounted Secret of a git source: user and password (kubernetes.io/basic-auth), `token`, or a private key
 * (kubernetes.io/ssh-auth) with `known_hosts`.
 * @throws InsituError GIT_SECRET when it holds none of them.
 */
export async function gitCredentials(directory: string): Promise<GitCredentials> {
  const read = async (key: string): Promise<string | undefined> => (await readOptional(join(directory, key)))?.trim()
  const [username, password, token, key, knownHosts] = await Promise.all(
    ['username', 'password', 'token', 'ssh-privatekey', 'known_hosts'].map(read),
  )
  const basic = (user: string, word: string): string => `basic ${Buffer.from(`${user}:${word}`).toString('base64')}`
  const header =
    password !== undefined
      ? basic(username ?? 'git', password)
      : token !== undefined
        ? basic(username ?? 'x-access-token', token)
        : undefined
  if (header === undefined && key === undefined && !knownHosts) {
    throw new InsituError('GIT_SECRET', 'the Secret for git has neither password nor token nor ssh-privatekey', {
      status: 'FAILED_PRECONDITION',
    })
  }
  return {
    header,
    sshKey: key === undefined ? undefined : join(directory, 'ssh-privatekey'),
    knownHosts: knownHosts || undefined,
  }
}

/** Puts the credentials where buildctl hands them to BuildKit's git source, under the names that this asks for. */
export async function gitSecretFiles(
  { header }: GitCredentials,
  directory: string,
): Promise<ReadonlyMap<string, string>> {
  if (header === undefined) return new Map()
  const file = join(directory, 'git-header')
  await writeFile(file, header, { mode: 0o600 })
  return new Map([['GIT_AUTH_HEADER', file]])
}

export interface GitLook {
  /** What the revision stands for. */
  readonly commit: string
  /** Files of the context that are kept in Git LFS: BuildKit checks out their pointers. */
  readonly lfs: readonly string[]
}

export interface GitLookOptions {
  readonly source: GitSource
  readonly credentials: GitCredentials | undefined
  readonly directory: string
  readonly signal: AbortSignal
  /** Told why the repository was not looked at. */
  readonly say: (line: string) => void
  /** Milliseconds in which a server that can be reached from here answers. Default 60,000. */
  readonly patience?: number
}

/** Milliseconds, a day: the build of a repository takes as long as the look at it, and the Build says how long that may be. */
const longest = 86_400_000

/**
 * Asks the repository for its directories and attributes, no other file. Undefined when it cannot be asked from here.
 * @throws InsituError GIT_HOST_KEY: a server that is not the one it should be is not asked again.
 */
export async function lookAtGit(options: GitLookOptions): Promise<GitLook | undefined> {
  const { source, credentials, directory, signal, say, patience = 60_000 } = options
  const repository = join(directory, 'lfs')
  await mkdir(repository, { recursive: true })
  const env = gitEnvironment(source, credentials, directory)
  const gitWithin = (timeout: number, ...args: string[]) =>
    run('git', ['-C', repository, ...args], { env, signal, timeout }).then(({ stdout }) => stdout)
  const git = (...args: string[]) => gitWithin(longest, ...args)
  try {
    await git('init', '--quiet')
    await git('remote', 'add', '--', 'origin', gitUrl(source.url))
    await gitWithin(patience, 'ls-remote', '--quiet', '--', 'origin', 'HEAD')
    await git('fetch', '--quiet', '--depth=1', '--filter=blob:none', '--', 'origin', source.revision ?? 'HEAD')
    // Of an annotated tag, the commit it is about.
    const commit = (await git('rev-parse', '--verify', '--quiet', 'FETCH_HEAD^{commit}')).trim()
    await git('read-tree', 'FETCH_HEAD')
    const listed = await git('ls-files', '-z', '--', source.subPath ?? '.')
    const { stdout } = await run('git', ['-C', repository, 'check-attr', '--cached', '-z', '--stdin', 'filter'], {
      ...{ env, signal, timeout: longest, input: listed },
    })
    const fields = stdout.split('\0')
    return { commit, lfs: fields.filter((_, i) => i % 3 === 0 && fields[i + 2] === 'lfs') }
  } catch (error) {
    if (describeError(error).includes('Host key verification failed')) throw wrongHostKey(source)
    say(`insitu: whether files of the context are kept in Git LFS was not looked at: ${describeError(error)}`)
    return undefined
  }
}

/** git's configuration in its environment: command lines can be read by everybody on the machine. */
function gitEnvironment(
  source: GitSource,
  credentials: GitCredentials | undefined,
  directory: string,
): Record<string, string> {
  const { header, sshKey, knownHosts } = credentials ?? {}
  const strict = knownHosts !== undefined && source.hostKeys !== 'AcceptAny'
  return {
    HOME: directory,
    GIT_TERMINAL_PROMPT: '0',
    GIT_CONFIG_NOSYSTEM: '1',
    // Neither files of this pod nor helpers that run a command.
    GIT_ALLOW_PROTOCOL: 'http:https:ssh:git',
    ...(header === undefined
      ? {}
      : {
          GIT_CONFIG_COUNT: '1',
          GIT_CONFIG_KEY_0: 'http.extraHeader',
          GIT_CONFIG_VALUE_0: `Authorization: ${header}`,
        }),
    GIT_SSH_COMMAND: [
      `ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=${strict ? 'yes' : 'accept-new'}`,
      `-o UserKnownHostsFile=${directory}/known_hosts`,
      ...(sshKey === undefined ? [] : [`-o IdentitiesOnly=yes -i ${directory}/git-key`]),
    ].join(' '),
  }
}

/** The sentence for people whose repository uses LFS. */
export const lfsMessage = (files: readonly string[]): string =>
  `${files.length} file${files.length === 1 ? '' : 's'} of the context ${files.length === 1 ? 'is' : 'are'} kept in Git LFS (${files
    .slice(0, 3)
    .join(
      ', ',
    )}${files.length > 3 ? ', …' : ''}). Builds do not fetch Git LFS: the image would hold pointers instead. ` +
  'Leave them out of spec.source.git.subPath, fetch them in the Dockerfile, or set spec.source.git.lfs to Ignore.'
