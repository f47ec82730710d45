import { mkdir, rm, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Finding, NodeReport } from '../api/node-report.ts'
import { describeError, InsituError } from '../kernel/errors.ts'
import { writeFileAtomic } from '../kernel/fs/atomic.ts'
import { backoff } from './buildkitd/backoff.ts'
import { askDaemon, type DaemonFacts } from './buildkitd/control.ts'
import { startDaemon } from './buildkitd/daemon.ts'
import { setAside } from './buildkitd/databases.ts'
import { daemonEnvironment } from './buildkitd/environment.ts'
import { judgeExit, type Verdict } from './buildkitd/judge-exit.ts'
import { memoryKills } from './buildkitd/memory-kill.ts'
import { endOrphans, type OrphanOptions } from './buildkitd/orphans.ts'
import { sweep } from './buildkitd/sweep.ts'
import { type Front, startFront } from './front/front.ts'
import { proxyVariables } from './front/proxy-env.ts'
import { type Lock, takeLock } from './host/lock.ts'
import { rememberNetwork } from './host/network-undo.ts'
import { clampSegments } from './host/segment-size.ts'
import { checkSpace, measureSpace } from './host/space.ts'
import { type AgentOptions, defaultIntervals } from './options.ts'
import { fatal, makePlan, paths, type Plan } from './plan.ts'
import { createReporter } from './report/reporter.ts'

export interface Agent {
  /** buildkitd's unix socket. */
  readonly socket: string
  /** The port of the mTLS front, once it listens. */
  readonly frontPort: () => number | undefined
  readonly report: () => NodeReport
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

type State = NodeReport['state']

/** Starts an agent: `preflight → render → supervise → watch → report`, until `stop` puts everything back. */
export function createAgent(options: AgentOptions): Agent {
  const { log } = options
  const intervals = { ...defaultIntervals, ...options.intervals }
  const place = paths(options)
  const stopping = new AbortController()
  const ready = Promise.withResolvers<void>()
  ready.promise.catch(() => undefined)
  const untilStopped = new Promise<undefined>((resolve) => {
    stopping.signal.addEventListener('abort', () => resolve(undefined), { once: true })
  })
  const reporter = createReporter({ send: (report) => options.report?.(report), log })

  let current: NodeReport = {
    version: 1,
    node: options.node,
    ready: false,
    state: 'starting',
    platforms: [],
    buildkit: '',
    containerd: '',
    snapshotter: '',
    distribution: 'unknown',
    network: 'bridge',
    findings: [],
  }
  let frontPort: number | undefined
  let lock: Lock | undefined
  /** What became known while the daemon ran: it stays in the report after the next start. */
  let history: readonly Finding[] = []

  const update = (change: Partial<NodeReport>): void => {
    current = { ...current, ...change }
    reporter.update(current)
  }
  const enter = (state: State, plan?: Plan, daemon?: DaemonFacts, extra: readonly Finding[] = []): void => {
    update({
      state,
      ready: state === 'ready' && (!options.front || frontPort !== undefined),
      ...(daemon ? { platforms: daemon.platforms, buildkit: daemon.version } : {}),
      ...(plan
        ? {
            containerd: plan.host.containerd?.version ?? '',
            snapshotter: plan.host.snapshotter ?? '',
            distribution: plan.host.distribution.name,
            network: plan.rendered.network,
            findings: [...plan.findings, ...extra, ...history],
          }
        : {}),
    })
  }
  const pause = (milliseconds: number): Promise<unknown> =>
    sleep(milliseconds, undefined, { signal: stopping.signal }).catch(() => undefined)

  /** Takes no builds: says why, and looks again later. */
  const refuse = async (plan: Plan | undefined, findings: readonly Finding[]): Promise<void> => {
    for (const { code, message, fix } of fatal(findings)) {
      if (!current.findings.some((known) => known.code === code && known.message === message)) {
        log.error({ code, fix }, message)
      }
    }
    enter('failed', plan)
    update({ findings: [...findings, ...history] })
    const [first] = fatal(findings)
    if (first) ready.reject(new InsituError(first.code, first.message, { fix: first.fix }))
    await pause(intervals.recheck)
  }

  const orphansOf = (plan: Plan): OrphanOptions => ({
    address: plan.host.distribution.address,
    namespace: options.namespace ?? 'k8s.io',
    root: plan.root,
    log,
  })

  const lockFor = async (plan: Plan): Promise<Lock> => {
    const namespace = options.namespace ?? 'k8s.io'
    return takeLock({
      files: [`${plan.root}/insitu.lock`, `${plan.host.distribution.state}/insitu-${namespace}.lock`],
      holder: `insitu agent of ${options.node}, process ${process.pid}`,
      env: daemonEnvironment(options.env, plan.rendered.tmpdir),
    })
  }

  /** From start to end of one daemon. @returns what its end means. */
  const live = async (plan: Plan, failures: number): Promise<Verdict> => {
    const { root, socket, configFile, rendered } = plan
    await endOrphans(orphansOf(plan))
    await sweep({ root, tmpdir: rendered.tmpdir, socket, log })
    await mkdir(place.run, { recursive: true })
    await mkdir(rendered.tmpdir, { recursive: true })
    await writeFileAtomic(configFile, rendered.toml, 0o600)
    const killsBefore = await memoryKills()
    const started = performance.now()
    const daemon = await startDaemon({
      binary: options.buildkitd ?? 'buildkitd',
      config: configFile,
      socket,
      env: daemonEnvironment(options.env, rendered.tmpdir),
      log: log.child({ daemon: 'buildkitd' }),
    })
    const end = (): void => {
      if (current.state === 'ready') enter('draining')
      void daemon.stop(intervals.grace)
    }
    if (stopping.signal.aborted) end()
    stopping.signal.addEventListener('abort', end, { once: true })
    void lock?.lost.then(() => {
      lock = undefined
      log.error('the lock was lost: the daemon is stopped')
      return daemon.stop(intervals.grace)
    })
    const facts = await daemon.ready
    const ended = new AbortController()
    if (facts && !stopping.signal.aborted) {
      enter('ready', plan, facts)
      ready.resolve()
      log.info({ version: facts.version, platforms: facts.platforms, socket }, 'buildkitd takes builds')
      void watch(plan, ended.signal)
    }
    const exit = await daemon.exited
    ended.abort(new Error('the daemon ended'))
    stopping.signal.removeEventListener('abort', end)
    return judgeExit({
      exit,
      uptime: performance.now() - started,
      wasReady: facts !== undefined,
      memoryKills: [killsBefore, await memoryKills()],
      lastLines: daemon.lastLines(),
      failures,
    })
  }

  /** While a daemon runs: platforms change with binfmt_misc, disks fill, configurations are edited. */
  const watch = async (plan: Plan, ended: AbortSignal): Promise<void> => {
    const over = AbortSignal.any([ended, stopping.signal])
    for (;;) {
      await sleep(intervals.watch, undefined, { signal: over, ref: false }).catch(() => undefined)
      if (over.aborted) return
      try {
        const facts = await askDaemon(plan.socket)
        const space = [...checkSpace(await measureSpace(plan.root))]
        const pending: Finding[] =
          (await options.readConfig?.()) === plan.config
            ? []
            : [
                {
                  code: 'CONFIG_PENDING',
                  severity: 'info',
                  message: 'buildkitd.toml has changed; the running daemon still uses the old one',
                  fix: 'restart the agent when its builds have ended',
                },
              ]
        const steady = plan.findings.filter((finding) => !/^(DISK|INODES)_/.test(finding.code))
        if (!over.aborted) enter('ready', { ...plan, findings: steady }, facts, [...space, ...pending])
      } catch (error) {
        log.warn({ err: describeError(error) }, 'the daemon did not answer a routine question')
      }
    }
  }

  /** Says what happened and waits. @returns how many fast exits in a row count from now on. */
  const afterEnd = async (plan: Plan, verdict: Verdict): Promise<number> => {
    let { failures } = verdict
    log.error({ cause: verdict.cause }, verdict.reason)
    history = verdict.finding ? [verdict.finding] : []
    if (verdict.databases !== 'keep' && (await stillAnswers(plan))) {
      const moved = await setAside(plan.root, verdict.databases === 'blamed', new Date())
      if (moved.length > 0) {
        const message = `buildkitd could not start with ${moved.join(', ')}; they were set aside and the build cache starts empty`
        log.error({ moved }, message)
        history = [{ code: 'DATABASE_SET_ASIDE', severity: 'warning', message }]
        failures = 0
      }
    }
    enter('restarting', plan)
    await pause(backoff(Math.max(1, failures)))
    return failures
  }

  /** A daemon also ends when containerd is away: then its databases are not to blame. */
  const stillAnswers = async (plan: Plan): Promise<boolean> =>
    (await makePlan(options)).host.containerd !== undefined && plan.host.containerd !== undefined

  /** Opens the port for gateways once there is a certificate. */
  const openFront = async (): Promise<Front | undefined> => {
    if (!options.front) return undefined
    try {
      const tls = await Promise.race([options.front.tls, untilStopped])
      if (!tls) return undefined
      const proxy = proxyVariables(options.env)
      const front = await startFront({ ...options.front, tls, socket: place.socket, proxy, log })
      frontPort = front.port
      log.info({ port: front.port }, 'gateways can reach this node')
      update({ ready: current.state === 'ready' })
      return front
    } catch (error) {
      log.error({ err: describeError(error) }, 'gateways cannot reach this node')
      return undefined
    }
  }

  const run = async (): Promise<void> => {
    const opened = openFront()
    let network: Awaited<ReturnType<typeof rememberNetwork>> | undefined
    let unclamp: (() => Promise<void>) | undefined
    let last: Plan | undefined
    try {
      for (let failures = 0; !stopping.signal.aborted;) {
        const plan = await makePlan(options).catch(unforeseen)
        if (!('host' in plan)) {
          await refuse(undefined, [plan])
          continue
        }
        if (fatal(plan.findings).length > 0) {
          await refuse(plan, plan.findings)
          continue
        }
        try {
          lock ??= await lockFor(plan)
          last = plan
          network ??= await rememberNetwork({
            bridge: plan.rendered.bridgeName,
            file: join(plan.root, 'insitu-network.json'),
            log,
          })
          if (plan.rendered.network === 'bridge') unclamp ??= await clampSegments(plan.rendered.bridgeName, log)
          const verdict = await live(plan, failures)
          if (verdict.cause === 'stopped') continue
          failures = await afterEnd(plan, verdict)
        } catch (error) {
          const finding = unforeseen(error)
          await refuse(plan, [...plan.findings, finding])
        }
      }
    } finally {
      enter('draining')
      const front = await opened
      const left = last
      // One step that fails keeps no other from being done.
      for (const step of [
        () => front?.close(),
        () => left && endOrphans(orphansOf(left)),
        () => left && sweep({ ...left, tmpdir: left.rendered.tmpdir, log, final: true }),
        () => left && rm(left.configFile, { force: true }),
        () => left && rmdir(left.rendered.tmpdir).catch(() => undefined),
        () => left && rmdir(place.run).catch(() => undefined),
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
    options.front && frontPort === undefined ? ['no gateway has given this node a certificate yet'] : []
  const done = run().catch((error: unknown) => {
    ready.reject(error)
    throw error
  })
  done.catch(() => undefined)
  return {
    socket: place.socket,
    frontPort: () => frontPort,
    report: () => current,
    notReady: () =>
      current.ready
        ? undefined
        : [current.state, ...noCertificate(), ...fatal(current.findings).map((f) => `${f.code}: ${f.message}`)].join(
            '; ',
          ),
    ready: ready.promise,
    done,
    async stop() {
      stopping.abort(new Error('the agent was told to stop'))
      await done
    },
  }
}

/**
 * A finding for what stood in the way of a start: a command that failed, a file system that is full or read-only.
 * @throws anything else: a mistake of ours, which ends the agent.
 */
function unforeseen(error: unknown): Finding {
  if (error instanceof InsituError && documented.has(error.code)) {
    return { code: error.code, severity: 'fatal', message: error.message, fix: error.fix }
  }
  if (!(error instanceof InsituError) && !(error instanceof Error && 'errno' in error)) throw error
  const fix =
    (error instanceof InsituError ? error.fix : undefined) ?? 'correct the cause; the agent needs a privileged pod'
  return { code: 'START_FAILED', severity: 'fatal', message: describeError(error), fix }
}

const documented: ReadonlySet<string> = new Set(['LOCKED', 'LOCK_FAILED', 'COMMAND_MISSING'])

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
