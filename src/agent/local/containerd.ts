import { mkdir, readFile, realpath, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { writeToml } from '../../kernel/config/toml.ts'
import { InsituError } from '../../kernel/errors.ts'
import { writeFileAtomic } from '../../kernel/fs/atomic.ts'
import { parseMountinfo } from '../../kernel/fs/mountinfo.ts'
import type { Logger } from '../../kernel/log.ts'
import { run } from '../../kernel/process/run.ts'
import { type Child, start } from '../../kernel/process/start.ts'

export interface OwnContainerdOptions {
  /** Directory for its root, state, socket and configuration; made if missing. */
  readonly directory: string
  /** The environment of the daemon; PATH must lead to containerd, its shim and runc. */
  readonly env: Readonly<Record<string, string>>
  readonly logger: Logger
}

export interface OwnContainerd {
  /** Path of its unix socket. */
  readonly address: string
  readonly root: string
  readonly state: string
  /** Ends it and removes its state directory, unless containers still run; its root, which holds the images, stays. */
  stop(): Promise<void>
}

/**
 * The configuration of a containerd that only insitu and `ctr` use: no CRI, nothing outside `directory`. Exceptions
 * are the shims' sockets, whose folder /run/containerd/s containerd does not let anybody configure.
 */
export function renderOwnContainerd(directory: string): string {
  return writeToml({
    version: 3,
    root: join(directory, 'root'),
    state: join(directory, 'state'),
    grpc: { address: join(directory, 'containerd.sock') },
    disabled_plugins: [
      'io.containerd.nri.v1.nri',
      'io.containerd.grpc.v1.cri',
      'io.containerd.cri.v1.images',
      'io.containerd.cri.v1.runtime',
    ],
  })
}

/** Starts a containerd for a machine that has none and waits until it answers. @throws InsituError OWN_CONTAINERD_FAILED */
export async function startOwnContainerd(options: OwnContainerdOptions): Promise<OwnContainerd> {
  const { directory } = options
  const address = join(directory, 'containerd.sock')
  // sockaddr_un(7): 108 bytes with the terminating zero; containerd appends ".ttrpc".
  if (Buffer.byteLength(address) > 100) {
    throw new InsituError('OWN_CONTAINERD_FAILED', `the path ${address} is too long for a unix socket`, {
      fix: 'choose a shorter --root',
    })
  }
  await mkdir(directory, { recursive: true, mode: 0o711 })
  const config = join(directory, 'config.toml')
  await writeFileAtomic(config, renderOwnContainerd(directory))
  const last: string[] = []
  const child: Child = await start('containerd', ['--config', config, '--log-level', 'warn'], {
    env: options.env,
    onLine: (line) => {
      last.push(line)
      if (last.length > 20) last.shift()
      options.logger.debug({ from: 'containerd' }, line)
    },
  })
  const stop = async (): Promise<void> => {
    await child.stop(10_000)
    const state = await realpath(join(directory, 'state')).catch(() => undefined)
    if (state === undefined) return
    const mounts = parseMountinfo(await readFile('/proc/self/mountinfo', 'utf8'))
    // Containers that somebody runs go on without containerd, and their files are mounted there.
    if (mounts.some(({ mountPoint }) => mountPoint.startsWith(`${state}/`))) {
      options.logger.warn({ state }, 'containers still run: the state directory of containerd stays for the next start')
      return
    }
    await rm(state, { recursive: true, force: true })
  }
  const life = { over: false }
  void child.exited.then(() => (life.over = true))
  for (let tries = 0; !life.over && tries < 300; tries++) {
    const answer = await run('ctr', ['--address', address, '--connect-timeout', '1s', 'version'], {
      env: options.env,
      allow: [1],
    })
    if (answer.exitCode === 0) return { address, root: join(directory, 'root'), state: join(directory, 'state'), stop }
    await sleep(100)
  }
  await stop()
  throw new InsituError('OWN_CONTAINERD_FAILED', `containerd did not start: ${last.slice(-3).join(' | ')}`, {
    fix: `read ${config}; a full disk and a missing runc are usual reasons`,
  })
}
