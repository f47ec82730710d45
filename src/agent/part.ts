import type { AgentConfig } from '../api/agent-config.ts'
import type { Finding, NodeReport } from '../api/node-report.ts'
import type { Env } from '../kernel/config/env.ts'
import type { Logger } from '../kernel/log.ts'
import type { Handler } from './front/handlers.ts'
import type { Preflight } from './host/preflight.ts'

/** What a part of the agent gets when it starts: the node has passed preflight and this agent holds its lock. */
export interface PartContext {
  readonly node: string
  readonly env: Env
  readonly log: Logger
  readonly config: AgentConfig
  /** What preflight found at that time. */
  readonly host: Preflight
  /** Path of containerd's socket. */
  readonly containerd: string
  /** containerd's namespace, shared with the kubelet. */
  readonly namespace: string
  /** buildkitd's root, at the same path on the host. Files of a part lie there, named `insitu-…`. */
  readonly root: string
  /** buildkitd's temporary directory. */
  readonly tmpdir: string
  /** The directory of sockets and rendered files; gone after a reboot. */
  readonly runDirectory: string
  /** buildkitd's unix socket. Nobody listens there while it restarts. */
  readonly socket: string
  /** buildkitd's process id as this process sees it, while one runs. */
  readonly daemonPid: () => number | undefined
  /** No daemon runs here, and this agent alone may start one: what needs none may be removed. */
  readonly alone: () => boolean
  /** Tells that `findings()` or `report()` of the part have changed. */
  changed(): void
}

export interface RunningPart {
  /** Requests that it answers on the agent's mTLS port. */
  readonly handlers?: readonly Handler[]
  /** What it adds to the report's findings now. */
  findings?(): readonly Finding[]
  /** What it adds to the report now, or says better than `own`, which is what is known without the parts. */
  report?(own: NodeReport): Partial<NodeReport>
  /** Text for /metrics, in the Prometheus format. */
  metrics?(): string
  /** Adds to a rendered buildkitd.toml, before each start of the daemon. @throws anything: then it is used without. */
  configure?(toml: string): string
  /** Ends it and puts back what it changed on the host, unless that has to outlive the agent. */
  stop(): Promise<void>
}

/** A job of the agent beside the supervision of buildkitd, whose restarts it does not notice. */
export interface Part {
  readonly name: string
  /**
   * @throws anything: then nothing of it runs, and the agent goes on without it, says so, and tries it again; the node
   * takes builds all the same.
   */
  start(context: PartContext): Promise<RunningPart>
}

/** The parts of an agent, started in their order and stopped in the reverse. */
export interface Parts {
  /** Starts those that do not run: all of them at first, later those that could not start, say on a full disk. */
  start(context: PartContext): Promise<void>
  handlers(): readonly Handler[]
  findings(): readonly Finding[]
  report(own: NodeReport): Partial<NodeReport>
  metrics(): string
  /** What buildkitd gets, with the additions of all parts. */
  configure(toml: string): string
  stop(): Promise<void>
}

export function createParts(parts: readonly Part[], log: Logger): Parts {
  const started = new Map<Part, RunningPart>()
  const failed = new Map<Part, Finding>()
  let starting: Promise<void> | undefined
  let stopped = false
  let handlers: readonly Handler[] = []

  /** In the parts' order, whenever each has started. */
  const running = (): { readonly name: string; readonly part: RunningPart }[] =>
    parts.flatMap((one) => {
      const part = started.get(one)
      return part ? [{ name: one.name, part }] : []
    })
  /** @returns whether there is something new to say of it. */
  const begin = async (part: Part, context: PartContext): Promise<boolean> => {
    const { name } = part
    try {
      started.set(part, await part.start({ ...context, log: context.log.child({ part: name }) }))
      if (failed.delete(part)) log.info({ part: name }, 'a part of the agent that could not start runs now')
      return true
    } catch (error) {
      const finding = partFailed(name, error)
      if (failed.get(part)?.message === finding.message) return false
      log.error({ err: error, part: name }, 'a part of the agent could not start')
      failed.set(part, finding)
      return true
    }
  }
  const startMissing = async (context: PartContext): Promise<void> => {
    let news = false
    for (const part of parts) {
      if (!stopped && !started.has(part)) news = (await begin(part, context)) || news
    }
    if (!news) return
    handlers = running().flatMap(({ part }) => part.handlers ?? [])
    context.changed()
  }
  return {
    start: (context) => (starting ??= startMissing(context).finally(() => (starting = undefined))),
    handlers: () => handlers,
    findings: () => [...failed.values(), ...running().flatMap(({ part }) => part.findings?.() ?? [])],
    report: (own) => Object.assign({}, ...running().map(({ part }) => part.report?.(own) ?? {})) as Partial<NodeReport>,
    metrics: () =>
      running()
        .map(({ part }) => part.metrics?.() ?? '')
        .join(''),
    configure: (toml) =>
      running().reduce((text, { name, part }) => {
        try {
          return part.configure?.(text) ?? text
        } catch (error) {
          log.error({ err: error, part: name }, 'buildkitd is configured without what a part adds')
          return text
        }
      }, toml),
    async stop() {
      stopped = true
      await starting
      const last = running().toReversed()
      handlers = []
      started.clear()
      for (const { name, part } of last) {
        await part.stop().catch((error: unknown) => log.error({ err: error, part: name }, 'a part did not end well'))
      }
    },
  }
}

const partFailed = (name: string, error: unknown): Finding => ({
  code: 'PART_FAILED',
  severity: 'warning',
  message: `the agent works without its part "${name}": ${error instanceof Error ? error.message : String(error)}`,
  fix: 'correct the cause; the agent tries again every minute while the node’s disks have room',
})
