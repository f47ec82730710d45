import { rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Finding } from '../../api/node-report.ts'
import { describeError } from '../../kernel/errors.ts'
import type { Logger } from '../../kernel/log.ts'
import { putMirror, removeMirror, seenDirectories } from './certs.ts'
import { registryDirectories } from './config-path.ts'
import type { MirrorHost } from './hosts-block.ts'
import { reachableFromNode, startWatchdog, type Watchdog } from './watchdog.ts'

export interface RegistrationOptions {
  /** containerd's socket, and its process id as this process sees it. */
  readonly containerd: string
  readonly containerdPid: number | undefined
  /** Where the node's files can be seen. */
  readonly hostRoot: string
  /** Address of the mirror in the node's network. */
  readonly host: string
  readonly port: number
  readonly token: string
  /** A directory of ours that containerd can read: for pulls that name their directory of hosts themselves. */
  readonly ownDirectory: string
  /** Address of the mirror for that one, should the first not be reachable. */
  readonly otherHost?: string | undefined
  readonly env: Readonly<Record<string, string>>
  readonly log: Logger
  /** Told that `findings` have changed. */
  readonly changed: () => void
  /** Milliseconds between two tries where it is not possible. Default half a minute. */
  readonly again?: number
}

export interface Registration {
  findings(): readonly Finding[]
  /** Whether containerd asks the mirror by itself. */
  readonly registered: boolean
  stop(): Promise<void>
}

/** Beats of a second between two looks at the files. */
const every = 5
/** Looks at an address that nobody answers before that is a finding: the node's rules for a new pod come a little later. */
const tries = 4

/**
 * Makes containerd ask the mirror, keeps it so, and undoes it. Where that is not possible a finding says why, and only
 * `ownDirectory` is there.
 */
export async function register(options: RegistrationOptions): Promise<Registration> {
  const { hostRoot, log, port, token } = options
  const url = (host: string): string => `http://${host.includes(':') ? `[${host}]` : host}:${port}`
  let findings: readonly Finding[] = []
  let directories: readonly string[] = []
  let watchdog: Watchdog | undefined
  let failures = 0
  let stopped = false
  let timer: NodeJS.Timeout | undefined
  let work: Promise<void> = Promise.resolve()

  const say = (next: readonly Finding[]): void => {
    if (JSON.stringify(next) === JSON.stringify(findings)) return
    for (const { code, message, fix } of next) log.warn({ code, fix }, message)
    findings = next
    options.changed()
  }
  const own = (host: string): Promise<unknown> => {
    return putMirror({ directories: [options.ownDirectory], hostRoot: '/' }, { url: url(host), token })
  }
  const put = async (): Promise<void> => {
    if (stopped) return
    say(await putMirror({ directories, hostRoot }, host()))
  }
  const host = (): MirrorHost => ({ url: url(options.host), token })
  const safely = (what: () => Promise<void>): Promise<void> =>
    (work = work
      .then(what)
      .catch((error: unknown) => log.error(`registering the mirror failed: ${describeError(error)}`)))

  const begin = async (): Promise<void> => {
    if (stopped) return
    const found = await registryDirectories({ address: options.containerd, pid: options.containerdPid, hostRoot })
    const reachable = await reachableFromNode(options.host, port, hostRoot)
    failures = reachable ? 0 : failures + 1
    const settled = reachable || failures >= tries
    if (settled) await own(reachable ? options.host : (options.otherHost ?? options.host))
    if (found.length === 0) say([configPathFinding])
    else if (settled && !reachable) say([unreachableFinding(options.host, port)])
    if (!reachable || found.length === 0) {
      // Whoever follows the finding's advice restarts containerd or changes the network, not the agent.
      later(settled ? (options.again ?? 30_000) : 1000)
      return
    }
    directories = found
    let beats = 0
    // Before the files: containerd must not be told of a mirror whose hanging nobody would notice.
    watchdog = await startWatchdog({
      directories: await seenDirectories({ directories, hostRoot }),
      env: options.env,
      log,
      onBeat(late) {
        beats += 1
        if (late || beats % every === 0) void safely(put)
      },
    })
    await put()
    log.info({ directories }, 'containerd asks the mirror of this node first')
  }
  /** containerd may just be starting. */
  const attempt = (): Promise<void> =>
    begin().catch((error: unknown) => {
      log.error(`registering the mirror failed: ${describeError(error)}`)
      if (watchdog === undefined) later(1000)
    })
  const later = (milliseconds: number): void => {
    timer = setTimeout(() => void safely(attempt), milliseconds)
    timer.unref()
  }
  await safely(attempt)
  return {
    findings: () => findings,
    get registered() {
      return watchdog !== undefined
    },
    async stop() {
      stopped = true
      clearTimeout(timer)
      await work
      await watchdog?.stop()
      await removeMirror({ directories, hostRoot })
      await removeMirror({ directories: [options.ownDirectory], hostRoot: '/' })
      await rm(options.ownDirectory, { recursive: true, force: true })
    },
  }
}

/** containerd's directory of hosts below buildkitd's root, for pulls of our own. */
export const ownDirectoryOf = (root: string): string => join(root, 'insitu-certs.d')

export const tokenFileOf = (root: string): string => join(dirname(ownDirectoryOf(root)), 'insitu-mirror.token')

export const configPathFinding: Finding = {
  code: 'MIRROR_CONFIG_PATH',
  severity: 'warning',
  message:
    'containerd reads no directory of registry hosts, so it cannot be told of the mirror: images reach this node by delivery only',
  fix: 'set config_path = "/etc/containerd/certs.d" under [plugins."io.containerd.cri.v1.images".registry] (containerd 1.x: [plugins."io.containerd.grpc.v1.cri".registry]), take registry.mirrors and registry.configs away, and restart containerd',
}

const unreachableFinding = (host: string, port: number): Finding => ({
  code: 'MIRROR_UNREACHABLE',
  severity: 'warning',
  message: `the node does not reach the mirror at ${host}:${port}: images reach this node by delivery only`,
  fix: 'the CNI configuration needs the plug-in portmap (hostPort), or a network that implements host ports',
})
