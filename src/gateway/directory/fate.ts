import { setTimeout as sleep } from 'node:timers/promises'
import { agentPaths } from '../../api/agent-api.ts'
import type { DaemonEnd } from '../../api/daemon-end.ts'
import type { TlsSource } from '../../kernel/tls/material.ts'
import type { Agent } from './agent.ts'
import type { AgentAddress } from './agent-connection.ts'
import { askAgent } from './agent-request.ts'

export interface FateOptions {
  /** What the agent says about the end of its daemon; rejects when it cannot be reached. */
  readonly ask: (agent: Agent, timeout: number) => Promise<DaemonEnd | undefined>
  /** The agent of the node as it is now. */
  readonly agent: () => Agent | undefined
  /** Why the node will be gone soon, undefined if it stays. */
  readonly leaving?: (() => string | undefined) | undefined
  /** Milliseconds. Default 1,600: clients should not be kept waiting for longer. */
  readonly patience?: number
}

/**
 * Why the daemon of a node has just gone away: its agent knows; where the agent went too, its kubelet does.
 * @returns a sentence without a full stop; undefined when nobody says it in time.
 */
export async function fateOfDaemon({ ask, agent, leaving, patience = 1600 }: FateOptions): Promise<string | undefined> {
  const end = performance.now() + patience
  const before = agent()
  const said = before && (await ask(before, patience).catch(() => undefined))
  const stopped = (): string => {
    const why = leaving?.()
    return why === undefined ? 'its agent was stopped' : `its agent was stopped, as the node is going away: ${why}`
  }
  if (said?.cause === 'stopped') return stopped()
  if (said) return said.reason
  for (;;) {
    const now = agent()
    if (!now) return 'its agent is gone'
    if (now.draining) return stopped()
    if (now.ended && now.ended.at !== before?.ended?.at) return now.ended.words
    if (performance.now() >= end) return undefined
    await sleep(50, undefined, { ref: false })
  }
}

/** Asks an agent how its daemon ended. @throws InsituError AGENT_UNREACHABLE */
export async function askForEnd(agent: AgentAddress, tls: TlsSource, timeout: number): Promise<DaemonEnd | undefined> {
  const answer = await askAgent(agent, tls, { method: 'GET', path: agentPaths.daemonEnd, timeout })
  const { cause, reason } = (answer ?? {}) as Partial<Record<keyof DaemonEnd, unknown>>
  return typeof cause === 'string' && typeof reason === 'string'
    ? { cause: cause as DaemonEnd['cause'], reason }
    : undefined
}
