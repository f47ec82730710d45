import { join } from 'node:path'
import { defaultAgentConfig } from '../api/agent-config.ts'
import type { NodeReport } from '../api/node-report.ts'
import { describeError } from '../kernel/errors.ts'
import { daemonEnvironment } from './buildkitd/environment.ts'
import { createLastEnd } from './buildkitd/last-end.ts'
import { farewell, isAlone, mayCleanUp, prelude, type Prepared } from './buildkitd/life.ts'
import { supervise } from './buildkitd/supervise.ts'
import { type Front, startFront } from './front/front.ts'
import type { Handler } from './front/handlers.ts'
import { type Lock, takeLock } from './host/lock.ts'
import { isSameNetwork, type NetworkMemory, rememberNetwork } from './host/network-undo.ts'
import { clampSegments } from './host/segment-size.ts'
import { type AgentOptions, defaultIntervals } from './options.ts'
import { createParts } from './part.ts'
import { agentParts } from './parts.ts'
import { proxyHandler } from './proxy/handlers.ts'
import { fatal, paths, type Plan } from './plan.ts'
import { createNodeState } from './report/node-state.ts'
import { createReporter } from './report/reporter.ts'

export interface Agent {
  /** buildkitd's unix socket. */
  readonly socket: string
  /** The port of the mTLS front, once it listens. */
  readonly frontPort: () => number | undefined
  readonly report: () => NodeReport
  /** Text for /metrics, in the Prometheus format. */
  readonly metrics: () => string
  /** Why the node takes no builds now, or undefined. */
  readonly notReady: () => string | undefined
  /**
   * Settles at the first moment the daemon takes calls.
   * @throws InsituError with the code of the first fatal finding, when that comes first.
   */
  readonly ready: Promise<void>
  /** Settles when the agent has ended and everything is put back. @throws what made it end by itself. */
  readonly done: Promise<void>
  stop(): Promise<void>
}

/** Starts an agent: `preflight → render → supervise → watch → report`, until `stop` puts everything back. */
export function createAgent(options: AgentOptions): Agent {
  const { log } = options
  const intervals = { ...defaultIntervals, ...options.intervals }
  const place = paths(options)
  const namespace = options.namespace ?? 'k8s.io'
  const stopping = new AbortController()
  const ready = Promise.withResolvers<void>()
  ready.promise.catch(() => undefined)
  const untilStopped = new Promise<undefined>((resolve) => {
    stopping.signal.addEventListener('abort', () => resolve(undefined), { once: true })
  })
  const reporter = createReporter({ send: (report) => options.report?.(report), log })
  const parts = createParts(agentParts(options), log)
  const state = createNodeState({
    node: options.node,
    needsFront: options.front !== undefined,
    parts,
    send: (report) => reporter.update(report),
  })
  const lastEnd = createLastEnd()
  let lock: Lock | undefined
  let daemonPid: number | undefined
  let network: NetworkMemory | undefined
  let last: Plan | undefined

  /** Opens the port for gateways once there is a certificate. */
  const openFront = async (): Promise<Front | undefined> => {
    if (!options.front) return undefined
    try {
      const tls = await Promise.race([options.front.tls, untilStopped])
      if (!tls) return undefined
      const own = [proxyHandler(options), lastEnd.handler]
      const handlers = (): readonly Handler[] => [...own, ...parts.handlers()]
      const front = await startFront({ ...options.front, tls, socket: place.socket, handlers, log })
      log.info({ port: front.port }, 'gateways can reach this node')
      state.frontOpened(front.port)
      return front
    } catch (error) {
      log.error({ err: describeError(error) }, 'gateways cannot reach this node')
      return undefined
    }
  }

  const takeLockFor = async (plan: Plan): Promise<Lock> => {
    const taken = await takeLock({
      files: [
        `${plan.root}/insitu.lock`,
        ...(plan.rootless ? [] : [`${plan.host.distribution.state}/insitu-${namespace}.lock`]),
      ],
      holder: `insitu agent of ${options.node}, process ${process.pid}`,
      env: daemonEnvironment(options.env, plan.rendered.tmpdir),
    })
    void taken.lost.then(() => {
      lock = undefined
      return log.error('the lock was lost: the daemon is stopped')
    })
    return taken
  }

  const rootUse = () => ({ locked: lock !== undefined, daemonPid, findings: state.current().findings })

  const startParts = (plan: Plan): Promise<void> =>
    parts.start({
      ...{ node: options.node, env: options.env, log, config: options.config ?? defaultAgentConfig, host: plan.host },
      ...{ containerd: plan.host.distribution.address, namespace, root: plan.root, runDirectory: place.run },
      tmpdir: plan.rendered.tmpdir,
      socket: place.socket,
      daemonPid: () => daemonPid,
      alone: () => isAlone(rootUse()),
      changed: () => state.refresh(),
    })

  const setUpNetwork = async ({ rootless, root, rendered }: Plan): Promise<void> => {
    const { bridgeName: bridge, subnet } = rendered
    const own = rendered.network === 'bridge' ? { bridge, subnet } : undefined
    // buildkitd.toml may say another one than at the last start.
    if (!rootless && !(network && isSameNetwork(network.own, own))) {
      network = await rememberNetwork({ own, file: join(root, 'insitu-network.json'), log })
    }
    if (own) await clampSegments(bridge, log)
  }

  /** What an agent does to a host before a daemon starts; after a lost lock the lock is taken again. */
  const prepare = async (plan: Plan): Promise<Prepared> => {
    lock ??= await takeLockFor(plan)
    const { lost } = lock
    last = plan
    const startMissing = (): Promise<void> => startParts(plan)
    for (const step of prelude(plan, options, [() => setUpNetwork(plan), startMissing])) await step()
    return { lost, toml: parts.configure(plan.rendered.toml), startMissing }
  }

  const run = async (): Promise<void> => {
    const opened = openFront()
    try {
      await supervise({
        ...{ agent: options, intervals, state, stopping: stopping.signal, prepare },
        onStarted: (pid) => void (daemonPid = pid),
        onReady: () => {
          lastEnd.running()
          ready.resolve()
        },
        onEnded: ({ cause, reason }) => {
          daemonPid = undefined
          lastEnd.ended({ cause, reason })
        },
        onRefused: (error) => ready.reject(error),
      })
    } finally {
      state.enter('draining')
      const front = await opened
      for (const step of [
        () => front?.close(),
        () => parts.stop(),
        ...(last ? farewell(last, options, () => mayCleanUp(rootUse())) : []),
        () => network?.undo(),
        () => lock?.release(),
        () => reporter.close(),
      ]) {
        try {
          await step()
        } catch (error) {
          log.error({ err: describeError(error) }, 'something could not be put back')
        }
      }
      log.info('the agent has ended')
    }
  }

  const noCertificate = (): string[] =>
    options.front && state.frontPort() === undefined ? ['no gateway has given this node a certificate yet'] : []
  const done = run().catch((error: unknown) => {
    ready.reject(error)
    throw error
  })
  done.catch(() => undefined)
  return {
    socket: place.socket,
    frontPort: () => state.frontPort(),
    report: () => state.current(),
    metrics: () => parts.metrics(),
    notReady() {
      const { ready, state: name, findings } = state.current()
      if (ready) return undefined
      const short = name === 'ready' ? [] : [name]
      return [...short, ...noCertificate(), ...fatal(findings).map((f) => `${f.code}: ${f.message}`)].join('; ')
    },
    ready: ready.promise,
    done,
    async stop() {
      stopping.abort(new Error('the agent was told to stop'))
      await done
    },
  }
}

/** Runs an agent until the signal is aborted and everything is put back. */
export async function runAgent(options: AgentOptions, signal: AbortSignal): Promise<void> {
  const agent = createAgent(options)
  const stop = (): void => void agent.stop().catch(() => undefined)
  if (signal.aborted) stop()
  signal.addEventListener('abort', stop, { once: true })
  try {
    await agent.done
  } finally {
    signal.removeEventListener('abort', stop)
  }
}
