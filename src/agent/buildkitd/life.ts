import { mkdir, rm, rmdir } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Finding } from '../../api/node-report.ts'
import { describeError } from '../../kernel/errors.ts'
import { writeFileAtomic } from '../../kernel/fs/atomic.ts'
import { readOptional } from '../../kernel/fs/read-optional.ts'
import { isAboutSpace, lookAtSpace } from '../host/space.ts'
import type { AgentOptions, Intervals } from '../options.ts'
import { fatal, paths, type Plan } from '../plan.ts'
import type { NodeState } from '../report/node-state.ts'
import { drained } from '../drain/drain.ts'
import { isStopped, lostPulse } from '../drain/pulse.ts'
import { runningBuilds } from '../drain/running-builds.ts'
import { endLeaks } from '../disk/leaks.ts'
import { daemonProxies, remembered } from '../proxy/variables.ts'
import { askDaemon } from './control.ts'
import { startDaemon } from './daemon.ts'
import { daemonEnvironment } from './environment.ts'
import { judgeExit, type Verdict } from './judge-exit.ts'
import { memoryKills } from './memory-kill.ts'
import { endOrphans, type OrphanOptions } from './orphans.ts'
import { sweep } from './sweep.ts'
import { tidy } from '../rootless/tidy.ts'
import { inUserNamespace } from '../rootless/user-namespace.ts'

/** What the agent has made ready for a daemon. */
export interface Prepared {
  /** Settles when this agent may no longer run a daemon on this node. */
  readonly lost: Promise<void>
  /** The daemon's configuration. */
  readonly toml: string
  /** Starts parts of the agent that could not start before. Called now and then while the daemon's disks have room. */
  readonly startMissing: () => Promise<void>
}

export interface LifeOptions extends Prepared {
  readonly agent: AgentOptions
  readonly intervals: Intervals
  readonly state: NodeState
  /** Aborted when the agent ends: the daemon is stopped. */
  readonly stopping: AbortSignal
  /** Called when its process runs. */
  readonly onStarted: (pid: number) => void
  /** Called when the daemon takes calls. */
  readonly onReady: () => void
}

/**
 * What is done before a daemon starts, in order: what the last one left is ended, and the rest. On a full disk that makes
 * room first, for the rest may have to write; elsewhere nothing waits for it, since it may take minutes.
 */
export const prelude = (
  plan: Plan,
  agent: AgentOptions,
  rest: readonly (() => Promise<unknown>)[],
): readonly (() => Promise<unknown>)[] => {
  const first = (): Promise<void> => clear(plan, agent)
  return fatal(plan.findings).some(isAboutSpace) ? [first, ...rest] : [...rest, first]
}

/** Ends what the last daemon left. Only while none runs, and with the lock. */
async function clear(plan: Plan, agent: AgentOptions): Promise<void> {
  const directories = { root: plan.root, tmpdir: plan.rendered.tmpdir, socket: plan.socket, log: agent.log }
  if (plan.rootless) return tidy(directories)
  await endOrphans(orphansOf(plan, agent))
  await sweep(directories)
  await endLeaks(orphansOf(plan, agent))
}

/** From start to end of one daemon, after the steps of `prelude`. @returns what its end means. */
export async function live(plan: Plan, failures: number, options: LifeOptions): Promise<Verdict> {
  const { agent, intervals, state, stopping } = options
  const { log } = agent
  const { socket, configFile, rendered } = plan
  await mkdir(paths(agent).run, { recursive: true })
  await mkdir(rendered.tmpdir, { recursive: true })
  // On a disk without any room the one of the last daemon does, where it says the same.
  if ((await readOptional(configFile)) !== options.toml) await writeFileAtomic(configFile, options.toml, 0o600)
  const killsBefore = await memoryKills()
  const started = performance.now()
  const daemon = await startDaemon({
    binary: agent.buildkitd ?? 'buildkitd',
    ...(plan.rootless ? { wrap: inUserNamespace } : {}),
    config: configFile,
    socket,
    env: daemonEnvironment(agent.env, rendered.tmpdir, await daemonProxies(agent, await remembered(paths(agent).run))),
    log: log.child({ daemon: 'buildkitd' }),
  })
  options.onStarted(daemon.pid)
  const end = (): void => {
    const ready = state.current().state === 'ready'
    if (ready) state.enter('draining')
    void (ready ? letBuildsEnd(socket, daemon.exited, options) : Promise.resolve()).then(() =>
      daemon.stop(intervals.grace),
    )
  }
  if (stopping.aborted) end()
  stopping.addEventListener('abort', end, { once: true })
  void options.lost.then(() => daemon.stop(intervals.grace))
  let hung: string | undefined
  const facts = await daemon.ready
  const now = await withSpace(plan).catch(() => plan)
  const ended = new AbortController()
  if (facts && !stopping.aborted) {
    state.enter('ready', now, facts)
    options.onReady()
    log.info({ version: facts.version, platforms: facts.platforms, socket }, 'buildkitd takes builds')
    void watch(plan, AbortSignal.any([ended.signal, stopping]), options)
    void endIfHung(daemon.pid, socket, ended.signal, options).then((words) => (hung = words))
  }
  const exit = await daemon.exited
  ended.abort(new Error('the daemon ended'))
  stopping.removeEventListener('abort', end)
  return judgeExit({
    exit,
    uptime: performance.now() - started,
    wasReady: facts !== undefined,
    memoryKills: [killsBefore, await memoryKills()],
    lastLines: daemon.lastLines(),
    failures,
    hung,
  })
}

/** Waits for the builds that run and for those that gateways have sent already. A second order to stop ends it. */
async function letBuildsEnd(socket: string, exited: Promise<unknown>, options: LifeOptions): Promise<void> {
  const { intervals, agent } = options
  if (intervals.drain === 0) return
  const gone = new AbortController()
  void exited.then(() => gone.abort(new Error('the daemon ended')))
  agent.log.info('draining: no new builds, running ones finish')
  const cut = await drained({
    running: (timeout) => runningBuilds(socket, timeout),
    grace: intervals.drain,
    settle: intervals.settle,
    signal: AbortSignal.any([gone.signal, ...(agent.now ? [agent.now] : [])]),
  })
  if (cut > 0 && !gone.signal.aborted) agent.log.warn({ builds: cut }, 'running builds are cut off')
}

/** Kills a daemon that does not answer any more: its clients learn of its end at once, and of a hung one never. */
async function endIfHung(
  pid: number,
  socket: string,
  signal: AbortSignal,
  { agent, intervals }: LifeOptions,
): Promise<string | undefined> {
  const words = await lostPulse({
    // A machine under load may be slow for long; nothing is lost by patience but the time of builds that hang anyway.
    ask: () => askDaemon(socket, 2 * intervals.pulse),
    stopped: () => isStopped(pid),
    interval: intervals.pulse,
    patience: 6,
    signal,
  })
  if (words === undefined) return undefined
  agent.log.error({ pid }, `${words}: it is killed`)
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It ended by itself.
  }
  return words
}

/** The plan with what its disks have left now. */
async function withSpace(plan: Plan): Promise<Plan> {
  const space = await lookAtSpace([plan.root, plan.host.distribution.root])
  return { ...plan, findings: [...plan.findings.filter((finding) => !isAboutSpace(finding)), ...space] }
}

/** While a daemon runs: platforms change with binfmt_misc, disks fill, configurations are edited. */
async function watch(plan: Plan, over: AbortSignal, options: LifeOptions): Promise<void> {
  const { agent, intervals, state } = options
  for (;;) {
    // Where a disk was full everybody waits for it.
    const full = fatal(state.current().findings).some(isAboutSpace)
    await sleep(full ? Math.min(intervals.recheck, intervals.watch) : intervals.watch, undefined, {
      signal: over,
      ref: false,
    }).catch(() => undefined)
    if (over.aborted) return
    try {
      const facts = await askDaemon(plan.socket)
      const pending: Finding[] =
        (await agent.readConfig?.()) === plan.config
          ? []
          : [
              {
                code: 'CONFIG_PENDING',
                severity: 'info',
                message: 'buildkitd.toml has changed; the running daemon still uses the old one',
                fix: 'restart the agent when its builds have ended',
              },
            ]
      const now = await withSpace(plan)
      if (over.aborted) return
      state.enter('ready', now, facts, pending)
      if (!fatal(now.findings).some(isAboutSpace)) await options.startMissing()
    } catch (error) {
      agent.log.warn({ err: describeError(error) }, 'the daemon did not answer a routine question')
    }
  }
}

const orphansOf = (plan: Plan, agent: AgentOptions): OrphanOptions => ({
  address: plan.host.distribution.address,
  namespace: agent.namespace ?? 'k8s.io',
  root: plan.root,
  log: agent.log,
})

/** What an agent knows of who uses its root. */
export interface RootUse {
  readonly locked: boolean
  readonly daemonPid: number | undefined
  /** Of its last look. */
  readonly findings: readonly Finding[]
}

/** It is ours, no daemon of ours runs there, and each fatal finding is one with which nobody else's does. */
const isFree = ({ locked, daemonPid, findings }: RootUse, harmless: (finding: Finding) => boolean): boolean =>
  locked && daemonPid === undefined && fatal(findings).every(harmless)

/**
 * No daemon of ours runs, and nobody else's may: whatever else is wrong with a node may be somebody else's buildkitd, on
 * our root.
 */
export const isAlone = (use: RootUse): boolean =>
  isFree(use, (finding) => isAboutSpace(finding) || finding.code === 'START_FAILED')

/** What is said where somebody else uses the root or the namespace, or where nobody could look. */
const othersMayBeThere: ReadonlySet<string> = new Set([
  ...['LOCKED', 'LOCK_FAILED', 'ROOT_IN_USE', 'ROOT_FOREIGN', 'NAMESPACE_IN_USE'],
  ...['CONTAINERD_SILENT', 'CONTAINERD_MISSING'],
])

/** Whether what our last daemon left is still nobody else's: what is wrong with a node may well be our configuration. */
export const mayCleanUp = (use: RootUse): boolean => isFree(use, ({ code }) => !othersMayBeThere.has(code))

/**
 * What puts away the rest of the last daemon, each step on its own: one that fails keeps no other from being done.
 * @param may asked before what is the daemon's is touched: since it ended somebody else may have begun to use it.
 */
export const farewell = (plan: Plan, agent: AgentOptions, may: () => boolean): readonly (() => Promise<unknown>)[] => [
  ...(plan.rootless
    ? [() => tidy({ ...plan, tmpdir: plan.rendered.tmpdir, log: agent.log })]
    : [
        () => endOrphans(orphansOf(plan, agent)),
        () => sweep({ ...plan, tmpdir: plan.rendered.tmpdir, log: agent.log, final: true }),
      ]
  ).map((step) => (): Promise<unknown> => (may() ? step() : Promise.resolve())),
  () => rm(plan.configFile, { force: true }),
  () => rmdir(plan.rendered.tmpdir).catch(() => undefined),
  () => rmdir(paths(agent).run).catch(() => undefined),
]
