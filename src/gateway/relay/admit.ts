import type { SolveRequest } from '../../buildkit/gen/control_pb.ts'
import type { Admitted } from '../policy/admission.ts'
import type { Call, RelayContext } from './context.ts'

/** A Solve after the policy has looked at it: what may be built, or why it may not. */
export interface Asked extends Admitted {
  /** Kept until the ref is bound, so that the other calls of the build get it too. */
  readonly refusal: unknown
}

/** Asks the policy about a Solve. Never throws: see `Asked.refusal`. */
export function askPolicy(context: RelayContext, call: Call, request: SolveRequest): Asked {
  try {
    return { ...context.admission.solve(call.caller, request), refusal: undefined }
  } catch (refusal) {
    return { request, allowsNode: () => true, checkNode: () => undefined, refusal }
  }
}
