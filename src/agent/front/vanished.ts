/**
 * Notices clients of the daemon that vanished with their node. Such a node says no goodbye, and TCP gives up what was
 * on its way to it only after a quarter of an hour, for which a build would go on for nobody.
 *
 * A gateway that is connected with a daemon asks the agent every few seconds whether it is there (the gateway's
 * directory/vigil.ts), so a host from which nothing has come for a minute has no gateway any more.
 */
export interface Vanished {
  /** Something came from a gateway on this host. */
  heard(host: string | undefined): void
  /** Cuts the connection when nothing comes from its host any more. */
  watch(client: Watched): void
}

/** Of a socket. */
interface Watched {
  readonly remoteAddress?: string | undefined
  readonly bytesRead: number
  destroy(): unknown
  once(event: 'close', listener: () => void): unknown
}

export interface VanishedOptions {
  /** Milliseconds between two looks. Default 5,000. */
  readonly interval?: number
  /**
   * So many looks in a row without a sign: default 12, a minute. Looks and not a time, since a process that was stopped
   * itself has heard nothing either.
   */
  readonly patience?: number
  readonly onVanished: (host: string, connections: number) => void
}

interface Host {
  readonly clients: Map<Watched, number>
  looks: number
}

export function createVanished({ interval = 5000, patience = 12, onVanished }: VanishedOptions): Vanished {
  const hosts = new Map<string, Host>()
  let timer: NodeJS.Timeout | undefined

  const look = (): void => {
    for (const [name, host] of hosts) {
      host.looks += 1
      for (const [client, before] of host.clients) {
        if (client.bytesRead === before) continue
        host.clients.set(client, client.bytesRead)
        host.looks = 0
      }
      if (host.looks < patience) continue
      const clients = [...host.clients.keys()]
      hosts.delete(name)
      onVanished(name, clients.length)
      for (const client of clients) client.destroy()
    }
    if (hosts.size > 0) return
    clearInterval(timer)
    timer = undefined
  }

  return {
    heard(name) {
      const host = name === undefined ? undefined : hosts.get(name)
      if (host) host.looks = 0
    },
    watch(client) {
      const name = client.remoteAddress
      if (name === undefined) return
      const host = hosts.get(name) ?? { clients: new Map<Watched, number>(), looks: 0 }
      hosts.set(name, host)
      host.clients.set(client, client.bytesRead)
      host.looks = 0
      timer ??= setInterval(look, interval).unref()
      client.once('close', () => {
        host.clients.delete(client)
        if (host.clients.size === 0 && hosts.get(name) === host) hosts.delete(name)
      })
    },
  }
}
