import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Outcome, paths, type Work } from '../../api/builds/work.ts'
import { processEnv } from '../../kernel/config/env.ts'
import { describeError, InsituError } from '../../kernel/errors.ts'
import { start } from '../../kernel/process/start.ts'
import { run } from '../../kernel/process/run.ts'
import { terminationSignal } from '../../kernel/process/termination.ts'
import { projectedToken } from '../connect/token.ts'
import { buildArguments, type Files, type GitCredentials, imageArguments } from './arguments.ts'
import { basesOf } from './bases.ts'
import { keepCertificate } from './certificate.ts'
import { followProgress, isInfrastructure } from './follow.ts'
import { checkSsh, hostKeyRules, wrongHostKey } from './git-ssh.ts'
import { gitUrlRules } from './git-url.ts'
import { outcomeText } from './outcome-text.ts'
import { nativePlatform } from './platform.ts'
import { baseRules, writeSourcePolicy } from './source-policy.ts'
import { gitCredentials, gitSecretFiles, lookAtGit, lfsMessage } from './git.ts'
import { dockerConfig, readRegistrySecrets, type RegistrySecret, unreadNote } from './registries.ts'

export interface RunBuildOptions {
  readonly work: string
  readonly tokenFile: string
  readonly outcome: string
  /** For files of one run; ours alone. */
  readonly directory: string
  readonly registries: string
  readonly secrets: string
  readonly workspace: string
}

export const defaultRunBuild: RunBuildOptions = {
  ...{ work: paths.work, tokenFile: projectedToken, outcome: paths.outcome, directory: '/tmp/insitu' },
  ...{ registries: paths.registries, secrets: paths.secrets, workspace: paths.workspace },
}

/**
 * What the pod of a Build does: gets a certificate for its service account, runs buildctl, and says how it ended in
 * the termination message.
 * @returns the exit code: 0, 1 for a failed build, 75 (sysexits' EX_TEMPFAIL) when something around it was lost.
 */
export async function runBuild(options: RunBuildOptions): Promise<number> {
  const signal = terminationSignal()
  const say = (line: string): void => void process.stdout.write(`${line}\n`)
  let outcome: Outcome
  let room: number | undefined
  try {
    const work = JSON.parse(await readFile(options.work, 'utf8')) as Work
    room = work.room
    await mkdir(options.directory, { recursive: true, mode: 0o700 })
    outcome = await build(work, options, signal, say)
  } catch (error) {
    const lost = error instanceof InsituError && error.status === 'UNAVAILABLE'
    const fix = error instanceof InsituError && error.fix ? ` (${error.fix})` : ''
    outcome = { result: lost ? 'infrastructure' : 'failed', message: `${describeError(error)}${fix}` }
    say(`insitu: ${outcome.message}`)
  }
  await writeFile(options.outcome, outcomeText(outcome, room))
  return outcome.result === 'succeeded' ? 0 : outcome.result === 'failed' ? 1 : 75
}

async function build(
  work: Work,
  options: RunBuildOptions,
  signal: AbortSignal,
  say: (line: string) => void,
): Promise<Outcome> {
  const { directory } = options
  const { source } = work.recipe
  const git = source?.git
  const credentials =
    git?.secretName === undefined ? undefined : await gitCredentials(join(options.secrets, git.secretName))
  checkSsh(work.recipe, credentials)
  if (credentials?.sshKey !== undefined) await ownKey(credentials.sshKey, directory)
  const hostKeys = await hostKeyRules(git, credentials?.knownHosts, directory)
  const sourcePolicy = await writeSourcePolicy(
    [...hostKeys, ...gitUrlRules(git?.url), ...baseRules(work.recipe)],
    directory,
  )
  const look =
    git && git.lfs !== 'Ignore' ? await lookAtGit({ source: git, credentials, directory, signal, say }) : undefined
  if (look && look.lfs.length > 0) {
    throw new InsituError('GIT_LFS', lfsMessage(look.lfs), { status: 'FAILED_PRECONDITION' })
  }
  const secrets = await readRegistrySecrets(options.registries, work.basicAuth)
  const note = unreadNote(secrets, work.unread)
  if (note !== undefined) say(`insitu: ${note}`)
  const files = { ...(await prepare(work, directory, secrets, credentials)), sourcePolicy }
  const certificate = keepCertificate({ work, tokenFile: options.tokenFile, directory: files.tls, signal, say })
  await certificate()
  const env = environment(directory)
  const followed = followProgress(git)
  const onLine = (line: string): void => {
    followed.line(line)
    say(line)
  }
  const buildctl = async (args: readonly string[]): Promise<boolean> => {
    await certificate()
    const child = await start('buildctl', args, { env, onLine })
    const stop = (): void => void child.stop(8000)
    signal.addEventListener('abort', stop, { once: true })
    if (signal.aborted) stop()
    const { code } = await child.exited
    return code === 0
  }
  // A daemon that knows the revision from a moment ago asks nobody, and says nothing of it.
  const commit = (): string | undefined => followed.commit ?? look?.commit
  const platformOfNode = async (): Promise<string | undefined> => {
    await certificate()
    return nativePlatform(work, files, followed.node, env)
  }
  const known = async (): Promise<Partial<Outcome>> => ({
    ...{ node: followed.node, commit: commit(), note },
    platform: work.recipe.platforms?.join(',') ?? (await platformOfNode()),
  })
  const failed = async (): Promise<Outcome> => {
    const tail = followed.tail(3000)
    const stranger = /git stderr:/.test(followed.error) && tail.includes('Host key verification failed')
    const message = git && stranger ? `${describeError(wrongHostKey(git))}\n${tail}` : tail
    const [digest] = followed.pushed.values()
    const pushed = digest === undefined ? {} : { digest, names: [...followed.pushed.keys()] }
    if (signal.aborted) {
      // Whoever cancels a Build, or lets it run too long, knows it. Everybody else takes the pod away from the build.
      const ended = `the pod was told to end\n${message}`
      return { result: 'infrastructure', node: followed.node, commit: commit(), ...pushed, message: ended, note }
    }
    const result = isInfrastructure(followed.error) ? 'infrastructure' : 'failed'
    return { result, ...(await known()), ...pushed, message }
  }
  if (source?.image && !(await fetchImage(work, files, buildctl, directory))) return failed()
  if (!(await buildctl(buildArguments(work, { ...files, workspace: options.workspace }, options.secrets))))
    return failed()
  const metadata = await readMetadata(files.metadata)
  const { platforms = [] } = work.recipe
  await certificate()
  return {
    bases: await basesOf(work, files, platforms.length > 1 ? undefined : followed.node, say),
    ...{ result: 'succeeded', ...(await known()) },
    digest: metadata['containerimage.digest'],
    names: metadata['image.name']?.split(',') ?? work.recipe.output?.names,
  }
}

/** buildctl reads a key only if nobody else may. */
const ownKey = async (from: string, directory: string): Promise<void> => {
  const text = await readFile(from, 'utf8')
  await writeFile(join(directory, 'git-key'), text.endsWith('\n') ? text : `${text}\n`, { mode: 0o600 })
}

async function prepare(
  work: Work,
  directory: string,
  secrets: readonly RegistrySecret[],
  credentials: GitCredentials | undefined,
): Promise<Files> {
  const at = (name: string): string => join(directory, name)
  for (const name of ['tls', 'docker', 'context']) await mkdir(at(name), { recursive: true, mode: 0o700 })
  await writeFile(at('docker/config.json'), JSON.stringify(dockerConfig(secrets)), { mode: 0o600 })
  const { source } = work.recipe
  const text = source?.dockerfile ?? (source?.image && `FROM ${source.image.name}\n`)
  if (text !== undefined) await writeFile(at(`context/${inlineName(work)}`), text)
  return {
    ...{ tls: at('tls'), metadata: at('metadata.json'), context: at('context') },
    ref: at('ref'),
    git: credentials ? await gitSecretFiles(credentials, directory) : new Map(),
    sshKey: credentials?.sshKey === undefined ? undefined : at('git-key'),
  }
}

/** An inline Dockerfile has the name that it is looked for under. */
const inlineName = ({ recipe }: Work): string =>
  recipe.source?.dockerfile !== undefined && recipe.dockerfile !== undefined && !recipe.dockerfile.includes('/')
    ? recipe.dockerfile
    : 'Dockerfile'

/** Puts the files of an image where the context is. */
async function fetchImage(
  work: Work,
  files: Files,
  buildctl: (args: readonly string[]) => Promise<boolean>,
  directory: string,
): Promise<boolean> {
  const archive = join(directory, 'context.tar')
  if (!(await buildctl(imageArguments(work, files, archive)))) return false
  await run('tar', ['--extract', '--file', archive, '--directory', files.context, '--no-same-owner'], {
    timeout: 600_000,
  })
  return true
}

/** buildctl gets no more of our environment than it needs: the proxies, for the tokens of registries. */
function environment(directory: string): Record<string, string> {
  const proxies = /^(https?|no|all)_proxy$/i
  const kept = Object.entries(processEnv()).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && (entry[0] === 'PATH' || proxies.test(entry[0])),
  )
  return { ...Object.fromEntries(kept), HOME: directory, DOCKER_CONFIG: join(directory, 'docker') }
}

async function readMetadata(file: string): Promise<Readonly<Record<string, string | undefined>>> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as Record<string, string | undefined>
  } catch {
    // A build without an output has none.
    return {}
  }
}
