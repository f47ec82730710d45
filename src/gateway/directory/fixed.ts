import { connect, type Socket } from 'node:net'
import type { BuildNode, Directory } from './directory.ts'

export interface FixedNode {
  readonly name: string
  /** Where its buildkitd listens, as `net.connect` takes it. */
  readonly address: { readonly path: string } | { readonly host: string; readonly port: number }
  /** Proxy variables for RUN steps. Default none. */
  readonly proxy?: Readonly<Record<string, string>> | undefined
  /** Platforms that it runs without an emulator. Default: not known, so builds are not split between nodes. */
  readonly native?: readonly string[] | undefined
}

/** Nodes from the command line: always there, and whether they answer shows when they are dialled. */
export function createFixedDirectory(fixed: readonly FixedNode[]): Directory {
  const nodes: readonly BuildNode[] = fixed
    .map(({ name, address, proxy, native }) => ({
      name,
      native,
      report: undefined,
      ready: true,
      dial: (signal?: AbortSignal) => dial(address, signal),
      proxy: () => Promise.resolve(proxy ?? {}),
    }))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
  return { nodes: () => nodes, node: (name) => nodes.find((node) => node.name === name) }
}

function dial(address: FixedNode['address'], signal: AbortSignal | undefined): Promise<Socket> {
  return new Promise((resolve, reject) => {
    // Keepalive: a machine that loses its power says no goodbye, and builds there would hang for ever.
    const socket = connect({ ...address, noDelay: true, keepAlive: true, keepAliveInitialDelay: 15_000, timeout: 5000 })
    const fail = (error: Error): void => {
      socket.destroy()
      reject(error)
    }
    const aborted = (): void => fail(signal?.reason instanceof Error ? signal.reason : new Error('aborted'))
    if (signal?.aborted) return aborted()
    signal?.addEventListener('abort', aborted, { once: true })
    socket.once('error', fail)
    socket.once('timeout', () => fail(new Error('no answer within 5 s')))
    socket.once('connect', () => {
      signal?.removeEventListener('abort', aborted)
      socket.off('error', fail)
      socket.removeAllListeners('timeout')
      socket.setTimeout(0)
      resolve(socket)
    })
  })
}
