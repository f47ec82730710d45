import { existsSync } from 'node:fs'
import { readFile, rmdir } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { type Agent, createAgent } from '../agent/agent.ts'
import { proxyVariables } from '../buildkit/proxy.ts'
import { type OwnContainerd, startOwnContainerd } from '../agent/local/containerd.ts'
import { defaultAgentConfig } from '../api/agent-config.ts'
import { clusterGateway } from '../api/config.ts'
import { createActivity } from '../gateway/correlate/activity.ts'
import { createFixedDirectory } from '../gateway/directory/fixed.ts'
import { createGateway, type Gateway } from '../gateway/gateway.ts'
import { formatAddress, parseAddress } from '../gateway/listener/address.ts'
import { createFixedPlacer } from '../gateway/placement/fixed.ts'
import { processEnv } from '../kernel/config/env.ts'
import { InsituError, UsageError } from '../kernel/errors.ts'
import { createLogger } from '../kernel/log.ts'
import { aborted, terminationSignal } from '../kernel/process/termination.ts'

export interface LocalOptions {
  readonly listen: readonly string[]
  readonly root: string
  readonly ownContainerd?: boolean
  readonly containerdAddress?: string
  readonly config?: string
  readonly logLevel: string
}

/** Sockets where a machine's own containerd usually listens. */
const usualSockets = [
  '/run/containerd/containerd.sock',
  '/run/k3s/containerd/containerd.sock',
  '/run/docker/containerd/containerd.sock',
]

/** Runs `insitu local` until SIGINT or SIGTERM, then puts everything back. Progress goes to standard error. */
export async function runLocal(options: LocalOptions): Promise<void> {
  const say = (line: string): void => void process.stderr.write(`${line}\n`)
  const started = performance.now()
  const step = (line: string): void =>
    say(`[${((performance.now() - started) / 1000).toFixed(1).padStart(5)}s] ${line}`)
  const listen = options.listen.map(parseAddress)
  if (process.getuid?.() !== 0) {
    throw new InsituError('NOT_ROOT', 'insitu local needs root: builds mount filesystems and run containers', {
      fix: 'run it with sudo',
    })
  }
  const { root } = options
  const log = createLogger({ level: options.logLevel, bindings: { role: 'local' } })
  const env = processEnv()
  const signal = terminationSignal()
  const readConfig = await configReader(options.config)

  let containerd: OwnContainerd | undefined
  let agent: Agent | undefined
  let gateway: Gateway | undefined
  try {
    let address = options.ownContainerd
      ? undefined
      : (options.containerdAddress ?? usualSockets.find((s) => existsSync(s)))
    if (address === undefined) {
      step('starting a containerd of our own')
      const inherited = Object.entries(env).filter((e): e is [string, string] => e[1] !== undefined)
      containerd = await startOwnContainerd({
        directory: join(root, 'c'),
        env: Object.fromEntries(inherited),
        logger: log,
      })
      address = containerd.address
    }
    step(`containerd at ${address}`)
    agent = createAgent({
      node: hostname(),
      env,
      log,
      root: join(root, 'buildkit'),
      runDirectory: join(root, 'run'),
      containerdAddress: address,
      // Nothing of a cluster is to be kept clear of a kubelet here: a machine that is rather full builds all the same.
      config: { ...defaultAgentConfig, disk: { followKubelet: false } },
      // A containerd without CRI serves no kubelet; its default snapshotter is the one `ctr run` uses.
      ...(containerd ? { snapshotter: 'overlayfs' } : {}),
      ...(readConfig ? { readConfig } : {}),
    })
    step('checking the machine, starting buildkitd')
    await Promise.race([agent.ready, aborted(signal)])
    if (!signal.aborted) {
      const { notReady } = agent
      const report = agent.report()
      for (const finding of report.findings) say(`  ${finding.severity}: ${finding.message}`)
      const directory = createFixedDirectory([
        { name: report.node, address: { path: agent.socket }, proxy: proxyVariables(env) },
      ])
      const activity = createActivity()
      gateway = await createGateway({
        listen,
        directory,
        activity,
        placer: createFixedPlacer({ directory, notReady, running: (node) => activity.on(node) }),
        config: clusterGateway,
        logger: log,
      })
      const daemon = `buildkitd ${report.buildkit} for ${report.platforms.join(', ')}, RUN steps in the ${report.network} network`
      const trouble = notReady()
      step(trouble === undefined ? `ready: ${daemon}` : `no builds until this is corrected: ${trouble} (${daemon})`)
      for (const at of gateway.addresses) say(`  buildctl --addr ${formatAddress(at)} build …`)
      say(`  ctr --address ${address} --namespace k8s.io run --rm NAME ID`)
      await Promise.race([aborted(signal), agent.done])
    }
    step('stopping')
  } finally {
    await gateway?.close()
    await agent?.stop()
    await containerd?.stop()
    await rmdir(join(root, 'run')).catch(() => undefined)
  }
}

async function configReader(file: string | undefined): Promise<(() => Promise<string>) | undefined> {
  if (file === undefined) return undefined
  await readFile(file).catch((error: unknown) => {
    throw new UsageError(`--config ${file} cannot be read`, { cause: error })
  })
  return () => readFile(file, 'utf8')
}
