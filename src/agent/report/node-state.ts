import type { Finding, NodeReport } from '../../api/node-report.ts'
import type { DaemonFacts } from '../buildkitd/control.ts'
import type { Plan } from '../plan.ts'

export type State = NodeReport['state']

export interface NodeStateOptions {
  readonly node: string
  /** The port for gateways is wanted: without it the node is not ready. */
  readonly needsFront: boolean
  /** What the agent's parts add now. */
  readonly parts: { findings(): readonly Finding[]; report(own: NodeReport): Partial<NodeReport> }
  /** Receives every change. */
  readonly send: (report: NodeReport) => void
}

/** What the agent says about its node, put together from what supervision, front and parts know. */
export interface NodeState {
  current(): NodeReport
  /** @param extra findings besides the plan's and those of `remember`. */
  enter(state: State, plan?: Plan, daemon?: DaemonFacts, extra?: readonly Finding[]): void
  /** Replaces the findings that are known otherwise. */
  setFindings(findings: readonly Finding[]): void
  /** What became known while a daemon ran: it stays in the report after the next start. */
  remember(findings: readonly Finding[]): void
  frontOpened(port: number): void
  frontPort(): number | undefined
  /** The parts say something else than before. */
  refresh(): void
}

export function createNodeState(options: NodeStateOptions): NodeState {
  let own: NodeReport = {
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
  let current = own
  let frontPort: number | undefined
  let history: readonly Finding[] = []

  const update = (change: Partial<NodeReport>): void => {
    own = { ...own, ...change }
    const findings = [...own.findings, ...options.parts.findings()]
    // A daemon that runs finishes its builds, but no new one is placed on a node with a fatal finding.
    const fit = !findings.some((finding) => finding.severity === 'fatal')
    own = { ...own, ready: own.state === 'ready' && fit && (!options.needsFront || frontPort !== undefined) }
    current = { ...own, ...options.parts.report(own), findings }
    options.send(current)
  }
  return {
    current: () => current,
    enter(state, plan, daemon, extra = []) {
      update({
        state,
        ...(daemon ? { platforms: daemon.platforms, buildkit: daemon.version } : {}),
        ...(plan
          ? {
              ...(plan.rootless ? { mode: 'rootless' as const } : {}),
              containerd: plan.host.containerd?.version ?? '',
              snapshotter: (plan.rootless ? daemon?.snapshotter : plan.host.snapshotter) ?? '',
              distribution: plan.host.distribution.name,
              network: plan.rendered.network,
              findings: [...plan.findings, ...extra, ...history],
            }
          : {}),
      })
    },
    setFindings: (findings) => update({ findings: [...findings, ...history] }),
    remember: (findings) => void (history = findings),
    frontOpened(port) {
      frontPort = port
      update({})
    },
    frontPort: () => frontPort,
    refresh: () => update({}),
  }
}
