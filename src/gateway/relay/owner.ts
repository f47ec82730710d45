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

/**
 * Takes a session for this caller, until the hold is released.
 * @throws InsituError SESSION_FOREIGN (PERMISSION_DENIED)
 */
export function claimSession(context: RelayContext, call: Call, id: string): Hold<undefined> {
  const identity = context.admission.administrator(call.caller) ? '*' : identityOf(call.caller)
  return context.sessionOwners.claim(id, identity)
}
