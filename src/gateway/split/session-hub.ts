import { InsituError } from '../../kernel/errors.ts'
import type { BuildNode } from '../directory/directory.ts'
import type { ClientSession, SessionHub } from './split-build.ts'

const sessionLost = (): InsituError =>
  new InsituError('SESSION_LOST', 'the session of the client, through which it serves the build, was lost', {
    status: 'UNAVAILABLE',
    fix: 'run the build again',
  })

export function createSessionHub(): SessionHub {
  const nodes = new Map<string, BuildNode>()
  const listeners = new Set<(node: BuildNode) => void>()
  const lost = new AbortController()
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
    leave: () => lost.abort(sessionLost()),
    lost: lost.signal,
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
