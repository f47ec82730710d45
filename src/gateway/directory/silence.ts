import { setTimeout as sleep } from 'node:timers/promises'
import type { Agent } from './agent.ts'

/**
 * Agents that could not be reached: their reports say what was true when they last could send one. They get no builds
 * until they answer again.
 */
export interface Silence {
  /** A connection to the agent failed. It is asked again until it answers. */
  noticed(agent: Agent): void
  has(agent: Agent): boolean
  forget(agent: Agent): void
  stop(): void
}

export interface SilenceOptions {
  /** Rejects, within seconds, while the agent cannot be reached. */
  readonly ask: (agent: Agent) => Promise<unknown>
  /** An agent fell silent or answers again. */
  readonly onChange: (agent: Agent) => void
  /** Milliseconds between two questions. Default 3,000. */
  readonly interval?: number
}

export function createSilence({ ask, onChange, interval = 3000 }: SilenceOptions): Silence {
  const silent = new Map<string, AbortController>()

  const untilItAnswers = async (agent: Agent, { signal }: AbortController): Promise<void> => {
    for (;;) {
      await sleep(interval, undefined, { signal, ref: false }).catch(() => undefined)
      if (signal.aborted) return
      const answered = await ask(agent).then(
        () => true,
        () => false,
      )
      if (signal.aborted) return
      if (!answered) continue
      silent.delete(agent.uid)
      return onChange(agent)
    }
  }

  return {
    noticed(agent) {
      if (silent.has(agent.uid)) return
      const end = new AbortController()
      silent.set(agent.uid, end)
      void untilItAnswers(agent, end)
      onChange(agent)
    },
    has: (agent) => silent.has(agent.uid),
    forget(agent) {
      silent.get(agent.uid)?.abort(new Error('the agent is gone'))
      silent.delete(agent.uid)
    },
    stop() {
      for (const end of silent.values()) end.abort(new Error('the gateway stops'))
      silent.clear()
    },
  }
}
