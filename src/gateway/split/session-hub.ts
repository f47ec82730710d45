import type { BuildNode } from '../directory/directory.ts'
import type { ClientSession, SessionHub } from './split-build.ts'

export function createSessionHub(): SessionHub {
  const nodes = new Map<string, BuildNode>()
  const listeners = new Set<(node: BuildNode) => void>()
  const arrival = Promise.withResolvers<ClientSession>()
  return {
    join(node) {
      if (nodes.has(node.name)) return
      nodes.set(node.name, node)
      for (const listener of listeners) listener(node)
    },
    follow(listener) {
      for (const node of nodes.values()) listener(node)
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    serve: (client) => arrival.resolve(client),
    async client(signal) {
      signal.throwIfAborted()
      const gave = Promise.withResolvers<never>()
      const abort = (): void => gave.reject(signal.reason)
      signal.addEventListener('abort', abort, { once: true })
      try {
        return await Promise.race([arrival.promise, gave.promise])
      } finally {
        signal.removeEventListener('abort', abort)
      }
    },
  }
}
