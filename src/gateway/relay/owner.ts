import { InsituError } from '../../kernel/errors.ts'
import type { Hold } from '../correlate/bindings.ts'
import { identityOf, sameIdentity } from '../listener/caller.ts'
import type { Build, Call, RelayContext } from './context.ts'

/**
 * A build is followed and driven by who started it, from any connection, and by administrators: its progress may hold
 * secrets of theirs, and its result gets their names.
 * @throws InsituError BUILD_UNKNOWN (NOT_FOUND), as for a build that does not exist.
 */
export function checkOwner(context: RelayContext, call: Call, build: Pick<Build, 'caller'> | undefined): void {
  if (!build || sameIdentity(call.caller, build.caller) || context.admission.administrator(call.caller)) return
  throw new InsituError('BUILD_UNKNOWN', 'this gateway knows no such build of yours', { status: 'NOT_FOUND' })
}

/** Takes sessions for this caller while something is done with them. @throws InsituError as `claimSession` */
export async function withSessions(
  context: RelayContext,
  call: Call,
  ids: readonly string[],
  work: () => Promise<void>,
): Promise<void> {
  const holds: Hold<unknown>[] = []
  try {
    for (const id of ids) holds.push(claimSession(context, call, id))
    await work()
  } finally {
    for (const hold of holds) hold.release()
  }
}

/**
 * Takes a session for this caller, until the hold is released. Daemons look for what comes after the first colon of an
 * id (BuildKit v0.33.1, session/manager.go), and no client makes one with a colon: it would be another's under a false name.
 * @throws InsituError SESSION_FOREIGN (PERMISSION_DENIED), SESSION_NAME (INVALID_ARGUMENT)
 */
export function claimSession(context: RelayContext, call: Call, id: string): Hold<undefined> {
  if (id.includes(':')) {
    throw new InsituError('SESSION_NAME', 'the id of a session cannot have a colon in it', {
      status: 'INVALID_ARGUMENT',
      fix: 'name the session as it was opened',
    })
  }
  const identity = context.admission.administrator(call.caller) ? '*' : identityOf(call.caller)
  return context.sessionOwners.claim(id, identity)
}
