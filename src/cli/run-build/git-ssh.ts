import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Recipe } from '../../api/builds/builds.ts'
import { InsituError } from '../../kernel/errors.ts'
import type { GitCredentials } from './arguments.ts'
import type { SourceRule } from './source-policy.ts'

type Git = NonNullable<NonNullable<Recipe['source']>['git']>

/** `ssh://…` and `user@host:path`. */
const overSsh = /^(ssh:\/\/|[^/:@]+@[^/:]+:)/

/** Host and port of a URL of git over ssh, undefined for other URLs. */
export function sshHost(url: string): { readonly host: string; readonly port: string | undefined } | undefined {
  const [, host, port] =
    /^ssh:\/\/(?:[^/@]*@)?(\[[^\]]+\]|[^/:]+)(?::(\d+))?/.exec(url) ?? /^[^/:@]+@([^/:]+):/.exec(url) ?? []
  return host === undefined ? undefined : { host: host.replace(/^\[|\]$/g, ''), port }
}

const refused = (code: string, message: string, fix: string): InsituError =>
  new InsituError(code, message, { status: 'FAILED_PRECONDITION', fix })

/**
 * Git over ssh needs a key, and says whom it talks to: whoever answers in the place of a git server would otherwise
 * decide what is built.
 * @throws InsituError GIT_SSH_KEY, GIT_KNOWN_HOSTS
 */
export function checkSsh({ source, ssh }: Recipe, credentials: GitCredentials | undefined): void {
  const git = source?.git
  const to = git && sshHost(git.url)
  if (!git || !to) return
  const secret =
    git.secretName === undefined ? 'a Secret that spec.source.git.secretName names' : `Secret ${git.secretName}`
  if (credentials?.sshKey === undefined && !ssh?.some(({ id }) => id === 'default')) {
    throw refused(
      'GIT_SSH_KEY',
      `spec.source.git.url is one of ssh, and there is no key for it`,
      `put a private key under ssh-privatekey into ${secret} (type kubernetes.io/ssh-auth)`,
    )
  }
  if (git.hostKeys !== 'AcceptAny' && credentials?.knownHosts === undefined) {
    const scan = `ssh-keyscan ${to.port === undefined ? '' : `-p ${to.port} `}${to.host}`
    throw refused(
      'GIT_KNOWN_HOSTS',
      `nothing says which host key ${to.host} has: ${secret} needs the key known_hosts`,
      `put there what "${scan}" prints, once you have compared it; or set spec.source.git.hostKeys to AcceptAny`,
    )
  }
}

export const wrongHostKey = ({ url }: Pick<Git, 'url'>): InsituError =>
  refused(
    'GIT_HOST_KEY',
    `the host key that ${sshHost(url)?.host ?? 'the git server'} shows is not in known_hosts of the Secret: nothing was fetched`,
    'compare its key with the one that its operator publishes, and put it into the Secret',
  )

/**
 * Puts down what makes the daemon check host keys: a source policy that gives every git source over ssh the lines of
 * known_hosts, over those that BuildKit would take from whoever answers (moby/buildkit client/llb/source.go).
 * @returns its rules; none when every host key is accepted.
 */
export async function hostKeyRules(
  git: Git | undefined,
  knownHosts: string | undefined,
  directory: string,
): Promise<SourceRule[]> {
  if (git === undefined || knownHosts === undefined || git.hostKeys === 'AcceptAny') return []
  const lines = `${knownHosts}\n`
  await writeFile(join(directory, 'known_hosts'), lines)
  const rule: SourceRule = {
    action: 'CONVERT',
    selector: {
      identifier: '^git://(.*)$',
      match_type: 'REGEX',
      constraints: [{ key: 'git.fullurl', value: overSsh.source.replaceAll('\\/', '/'), condition: 'MATCHES' }],
    },
    updates: { identifier: 'git://${1}', attrs: { 'git.knownsshhosts': lines } },
  }
  return [rule]
}
