import type { Env } from '../../kernel/config/env.ts'

/** Ours, Node's and systemd's: they mean nothing to buildkitd, or the wrong thing. */
const withheld = /^(INSITU_|NODE_|POD_|npm_|MALLOC_|NOTIFY_SOCKET$|LISTEN_(PID|FDS)|TMPDIR$)/

/**
 * buildkitd's environment: the agent's, with the temporary directory moved below the shared root. BuildKit makes
 * contexts, secrets, ssh sockets and emulators in its temporary directory, and containerd mounts them from there.
 */
export function daemonEnvironment(env: Env, tmpdir: string): Record<string, string> {
  const kept = Object.entries(env).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && !withheld.test(entry[0]),
  )
  return { ...Object.fromEntries(kept), TMPDIR: tmpdir }
}
