import { userInfo } from 'node:os'
import { mkdir, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Env } from '../../kernel/config/env.ts'
import { describeError } from '../../kernel/errors.ts'
import { readOptional } from '../../kernel/fs/read-optional.ts'
import { findProgram } from '../../kernel/process/find-program.ts'
import { run } from '../../kernel/process/run.ts'
import type { Limits } from './explain.ts'
import { inUserNamespace } from './user-namespace.ts'

/** What this mode starts besides buildkitd. */
const programs = ['unshare', 'newuidmap', 'newgidmap', 'mount', 'flock', 'rm'] as const

export interface LimitsOptions {
  readonly env: Env
  readonly buildkitd: string
  /** Where the trial mounts: below buildkitd's root, as the daemon will. */
  readonly root: string
  /** For tests: where /proc and /etc are read. */
  readonly files?: string
}

/** Reads what kernel and pod allow, and tries it. Nothing stays. */
export async function readLimits(options: LimitsOptions): Promise<Limits> {
  const { files = '/', env, buildkitd, root } = options
  const read = async (path: string): Promise<string> => (await readOptional(join(files, path))) ?? ''
  const number = async (path: string): Promise<number | undefined> => {
    const text = (await read(path)).trim()
    return text === '' ? undefined : Number(text)
  }
  const path = env['PATH'] ?? ''
  const missing: string[] = []
  for (const name of [buildkitd, ...programs]) if (!(await findProgram(name, path))) missing.push(name)
  if (!(await findProgram('buildkit-runc', path)) && !(await findProgram('runc', path))) missing.push('buildkit-runc')
  const status = await read('proc/self/status')
  const user = process.getuid?.() ?? 0
  const name = nameOf(user)
  return {
    missing,
    user,
    trial: missing.length > 0 ? { failure: 'not tried' } : await tryMount(root),
    maxUserNamespaces: await number('proc/sys/user/max_user_namespaces'),
    unprivilegedClone: await number('proc/sys/kernel/unprivileged_userns_clone'),
    apparmorRestricts: await number('proc/sys/kernel/apparmor_restrict_unprivileged_userns'),
    // `PROFILE (MODE)`; empty or unreadable without AppArmor.
    apparmor: (await read('proc/self/attr/current').catch(() => '')).replaceAll('\0', '').trim() || undefined,
    seccomp: field(status, 'Seccomp') === '2',
    noNewPrivileges: field(status, 'NoNewPrivs') === '1',
    mayMapUsers: hasCapabilities(field(status, 'CapBnd')),
    subordinates: Math.min(
      subordinates(await read('etc/subuid'), user, name),
      subordinates(await read('etc/subgid'), user, name),
    ),
  }
}

/** A daemon's life in small: a user namespace with its users, and a mount in it. */
async function tryMount(root: string): Promise<Limits['trial']> {
  const at = join(root, '.insitu-probe-rootless')
  try {
    await mkdir(at, { recursive: true })
    // First without users: where no namespace can be made, util-linux's helper that would map them waits for ever.
    await run('unshare', ['--user', '--', 'true'], { timeout: 20_000 })
    await run(...inUserNamespace('mount', ['-t', 'tmpfs', 'tmpfs', at]), { timeout: 20_000 })
    return 'works'
  } catch (error) {
    return { failure: describeError(error) }
  } finally {
    await rmdir(at).catch(() => undefined)
  }
}

function nameOf(user: number): string {
  try {
    return userInfo().username
  } catch {
    // No line in /etc/passwd.
    return String(user)
  }
}

/** A line `NAME:  VALUE` of /proc/PID/status. */
const field = (status: string, name: string): string | undefined =>
  new RegExp(`^${name}:\\s*(\\S+)`, 'm').exec(status)?.[1]

/** CAP_SETGID is 6 and CAP_SETUID 7 (capabilities(7)). What cannot be read is not blamed. */
function hasCapabilities(bounding: string | undefined): boolean {
  if (bounding === undefined) return true
  const both = (1n << 6n) | (1n << 7n)
  return (BigInt(`0x${bounding}`) & both) === both
}

/** Lines `NAME:FIRST:COUNT` (subuid(5)); the first one of a user counts, as for `unshare --map-auto`. */
export function subordinates(text: string, user: number, name: string): number {
  for (const line of text.split('\n')) {
    const [owner, , count] = line.split(':')
    if (owner === name || owner === String(user)) return Number(count ?? 0)
  }
  return 0
}
