import type { JsonSession } from '../../kernel/grpc/json-session.ts'
import type { Logger } from '../../kernel/log.ts'

/** Warm connections to every gateway of the cluster. */
export interface Gateways {
  /** Addresses of those that can be asked now. */
  connected(): readonly string[]
  /** @throws when there is no answer. */
  get(address: string, path: string, signal: AbortSignal): Promise<unknown>
  close(): void
}

export interface GatewaysOptions {
  /** All addresses that there are now. May fail. */
  readonly resolve: () => Promise<readonly string[]>
  readonly connect: (address: string) => JsonSession
  readonly log: Logger
  /** Milliseconds between two looks for lost connections. Default 1,000. */
  readonly interval?: number
  /** Milliseconds for which found addresses are kept while all of them can be asked. Default 15,000. */
  readonly keep?: number
}

export function connectGateways(options: GatewaysOptions): Gateways {
  const { resolve, connect, log, interval = 1000, keep = 15_000 } = options
  const sessions = new Map<string, JsonSession>()
  const usable = new Set<string>()
  let closed = false
  let timer: NodeJS.Timeout | undefined
  let resolved = -Infinity
  let found: readonly string[] | undefined

  const open = (address: string): void => {
    const session = connect(address)
    sessions.set(address, session)
    void note(address, session)
  }
  const note = async (address: string, session: JsonSession): Promise<void> => {
    const ok = await session.connected.then(
      () => true,
      () => false,
    )
    if (!ok || sessions.get(address) !== session) return
    usable.add(address)
    log.debug({ gateway: address }, 'this gateway can be asked for images')
  }
  const drop = (address: string): void => {
    usable.delete(address)
    sessions.get(address)?.close()
    sessions.delete(address)
  }
  const look = async (): Promise<void> => {
    const complete = sessions.size > 0 && [...sessions].every(([address, { open }]) => open && usable.has(address))
    // Without any gateway thousands of agents would otherwise ask the DNS each second.
    if (performance.now() - resolved > (complete ? keep : Math.min(keep, 4 * interval))) {
      // A name that cannot be resolved just now says nothing about the connections there are.
      found = (await resolve().catch(() => undefined)) ?? found
      resolved = performance.now()
    }
    if (closed) return
    for (const [address, session] of sessions) {
      if (!session.open || (found && found.length > 0 && !found.includes(address))) drop(address)
    }
    for (const address of found ?? []) if (!sessions.has(address)) open(address)
    timer = setTimeout(() => void look(), interval)
    timer.unref()
  }
  void look()
  return {
    connected: () => [...usable].filter((address) => sessions.get(address)?.open === true),
    async get(address, path, signal) {
      const session = sessions.get(address)
      if (!session) throw new Error('this gateway is gone')
      return session.get(path, signal)
    },
    close() {
      closed = true
      clearTimeout(timer)
      for (const address of sessions.keys()) drop(address)
    },
  }
}
