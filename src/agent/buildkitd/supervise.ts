import { setTimeout as sleep } from 'node:timers/promises'
import type { DaemonEnd } from '../../api/daemon-end.ts'
import type { Finding } from '../../api/node-report.ts'
import { describeError, InsituError } from '../../kernel/errors.ts'
import type { AgentOptions, Intervals } from '../options.ts'
import { isAboutSpace } from '../host/space.ts'
import { fatal, makePlan, type Plan } from '../plan.ts'
import type { NodeState } from '../report/node-state.ts'
import { backoff } from './backoff.ts'
import { setAside } from './databases.ts'
import type { Verdict } from './judge-exit.ts'
import { live, type Prepared } from './life.ts'

export interface SuperviseOptions {
  readonly agent: AgentOptions
  readonly intervals: Intervals
  readonly state: NodeState
  readonly stopping: AbortSignal
  /**
   * Before a daemon starts: ends what the last one left. Only on a plan on which one may start.
   * @throws what stands in the way; it becomes a fatal finding.
   */
  readonly prepare: (plan: Plan) => Promise<Prepared>
  /** A daemon runs as this process; it does not take calls yet. */
  readonly onStarted: (pid: number) => void
  /** The daemon takes calls. Called at each start. */
  readonly onReady: () => void
  /** The daemon has ended. */
  readonly onEnded: (end: DaemonEnd) => void
  /** The node takes no builds now; with the first fatal finding. */
  readonly onRefused: (error: InsituError) => void
}

/**
 * Keeps one buildkitd running until `stopping`: preflight, render, start, and again after each end; with fatal
 * findings it looks again later. On a full disk a daemon starts all the same: what the last one left is ended before,
 * and it can give cache back, while its node takes no builds. @throws only what is a mistake of ours.
 */
export async function supervise(options: SuperviseOptions): Promise<void> {
  const { agent, state, stopping } = options
  for (let failures = 0; !stopping.aborted;) {
    const plan = await makePlan(agent).catch(unforeseen)
    if (!('host' in plan)) {
      await refuse(undefined, [plan], options)
      continue
    }
    if (!fatal(plan.findings).every(isAboutSpace)) {
      await refuse(plan, plan.findings, options)
      continue
    }
    say(plan.findings, options)
    try {
      const verdict = await live(plan, failures, {
        ...(await options.prepare(plan)),
        agent,
        intervals: options.intervals,
        state,
        stopping,
        onStarted: options.onStarted,
        onReady: options.onReady,
      })
      options.onEnded(verdict)
      if (verdict.cause === 'stopped') continue
      failures = await afterEnd(plan, verdict, options)
    } catch (error) {
      const finding = unforeseen(error)
      await refuse(plan, [...plan.findings, finding], options)
    }
  }
}

/** Takes no builds: says why, and looks again later. */
async function refuse(plan: Plan | undefined, findings: readonly Finding[], options: SuperviseOptions): Promise<void> {
  const { state } = options
  say(findings, options)
  state.enter('failed', plan)
  state.setFindings(findings)
  refused(findings, options)
  await pause(options.intervals.recheck, options.stopping)
}

/** Logs fatal findings that the report does not have yet. */
function say(findings: readonly Finding[], { agent, state }: SuperviseOptions): void {
  const said = state.current().findings
  for (const { code, message, fix } of fatal(findings)) {
    if (!said.some((known) => known.code === code && known.message === message)) agent.log.error({ code, fix }, message)
  }
}

function refused(findings: readonly Finding[], { onRefused }: SuperviseOptions): void {
  const [first] = fatal(findings)
  if (first) onRefused(new InsituError(first.code, first.message, { fix: first.fix }))
}

/** Says what happened and waits. @returns how many fast exits in a row count from now on. */
async function afterEnd(plan: Plan, verdict: Verdict, options: SuperviseOptions): Promise<number> {
  const { agent, state } = options
  let { failures } = verdict
  agent.log.error({ cause: verdict.cause }, verdict.reason)
  refused(plan.findings, options)
  state.remember(verdict.finding ? [verdict.finding] : [])
  if (verdict.databases !== 'keep' && (await stillAnswers(plan, agent))) {
    // Words about a database on a full disk are about the disk.
    const blamed = verdict.databases === 'blamed' && fatal(plan.findings).length === 0
    const moved = await setAside(plan.root, blamed, new Date())
    if (moved.length > 0) {
      const message = `buildkitd could not start with ${moved.join(', ')}; they were set aside and the build cache starts empty`
      agent.log.error({ moved }, message)
      state.remember([{ code: 'DATABASE_SET_ASIDE', severity: 'warning', message }])
      failures = 0
    }
  }
  state.enter('restarting', plan)
  await pause(backoff(Math.max(1, failures)), options.stopping)
  return failures
}

/** A daemon also ends when containerd is away: then its databases are not to blame. */
const stillAnswers = async (plan: Plan, agent: AgentOptions): Promise<boolean> =>
  plan.rootless || ((await makePlan(agent)).host.containerd !== undefined && plan.host.containerd !== undefined)

const pause = (milliseconds: number, signal: AbortSignal): Promise<unknown> =>
  sleep(milliseconds, undefined, { signal }).catch(() => undefined)

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
