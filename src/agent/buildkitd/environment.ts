import { proxyEntries, proxyVariables, withoutProxyVariables } from '../../buildkit/proxy.ts'
import type { Env } from '../../kernel/config/env.ts'

/** Ours, Node's and systemd's: they mean nothing to buildkitd, or the wrong thing. */
const withheld = /^(INSITU_|NODE_|POD_|npm_|MALLOC_|NOTIFY_SOCKET$|LISTEN_(PID|FDS)|TMPDIR$)/

/**
 * buildkitd's environment: the agent's, with the temporary directory moved below the shared root. BuildKit makes
 * contexts, secrets, ssh sockets and emulators in its temporary directory, and containerd mounts them from there.
 * Proxy variables are there in both cases: its git, as everything of curl, reads `http_proxy` in lower case only.
 * @param proxy proxy variables. Default: those of the environment.
 */
export function daemonEnvironment(env: Env, tmpdir: string, proxy = proxyVariables(env)): Record<string, string> {
  const kept = Object.entries(env).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && !withheld.test(entry[0]),
  )
  return { ...withoutProxyVariables(Object.fromEntries(kept)), ...proxyEntries(proxy), TMPDIR: tmpdir }
}
