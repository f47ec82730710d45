import { InsituError } from '../../kernel/errors.ts'
import type { Hold } from '../correlate/bindings.ts'
import type { BuildNode } from '../directory/directory.ts'
import { createSessionHub } from '../split/session-hub.ts'
import type { SessionHub } from '../split/split-build.ts'
import type { RelayContext } from './context.ts'

/** Binds all sessions of a build to one node: to the one that a session is bound to already, else to what is decided. */
export async function bindSessions(
  context: RelayContext,
  sessions: readonly string[],
  holds: Hold<unknown>[],
  decide: () => Promise<BuildNode>,
): Promise<BuildNode> {
  let node: BuildNode | undefined
  const hubs: SessionHub[] = []
  for (const id of sessions) {
    const chosen = node
    const session = await context.sessions.claim(id, async () => ({ node: chosen ?? (await decide()) }))
    holds.push(session)
    if (session.value.hub) {
      hubs.push(session.value.hub)
      continue
    }
    node ??= session.value.node
    if (session.value.node.name !== node.name) throw elsewhere(node.name, session.value.node)
  }
  node ??= await decide()
  for (const hub of hubs) hub.join(node)
  return node
}

/**
 * Takes the sessions of a build for several nodes.
 * @returns the hub of each; undefined when one of them is bound to a single node already.
 */
export async function bindHubs(
  context: RelayContext,
  sessions: readonly string[],
  holds: Hold<unknown>[],
): Promise<readonly SessionHub[] | undefined> {
  const hubs: SessionHub[] = []
  let bound = false
  for (const id of sessions) {
    const session = await context.sessions.claim(id, () => Promise.resolve({ hub: createSessionHub() }))
    holds.push(session)
    if (session.value.hub) hubs.push(session.value.hub)
    else bound = true
  }
  return bound ? undefined : hubs
}

export const elsewhere = (wanted: string, node: BuildNode): InsituError =>
  new InsituError(
    'SESSION_ELSEWHERE',
    `the build should go to node ${wanted}, and a session it needs is on ${node.name}`,
    {
      status: 'FAILED_PRECONDITION',
      fix: 'build for different nodes with separate commands',
    },
  )
