import type { SolveRequest } from '../../buildkit/gen/control_pb.ts'
import type { Caller } from '../listener/caller.ts'

/** What a caller may build, after the policy has looked at it. */
export interface Admitted {
  /** The request as far as it is allowed. */
  readonly request: SolveRequest
  /**
   * The daemon must get the request as it was understood here, newly encoded, and not the client's own bytes: what two
   * decoders could read differently would get round the policy.
   */
  readonly encodeAnew: boolean
  readonly allowsNode: (name: string) => boolean
  /** @throws InsituError POLICY (PERMISSION_DENIED) for a node that the caller may not build on. */
  readonly checkNode: (name: string) => void
}

/** Decides what callers may do. Refusals are InsituErrors whose sentence names the rule. */
export interface Admission {
  /** Control/Solve, before placement. @throws InsituError POLICY (PERMISSION_DENIED), RATE (RESOURCE_EXHAUSTED) */
  solve(caller: Caller, request: SolveRequest): Admitted
  /**
   * Control/Solve, after placement: names that the build would write, on every node that it may write to.
   * @throws InsituError POLICY (PERMISSION_DENIED)
   */
  names(caller: Caller, images: readonly string[], nodes: readonly string[], signal: AbortSignal): Promise<void>
  /** LLBBridge/Solve. @returns the message that the daemon gets. @throws InsituError POLICY (PERMISSION_DENIED) */
  bridgeSolve(caller: Caller, message: Uint8Array): Uint8Array
  /** LLBBridge/Return. @throws InsituError POLICY (PERMISSION_DENIED) */
  bridgeReturn(caller: Caller, message: Uint8Array): void
  /** Calls for administrators, e.g. `Prune`. @throws InsituError POLICY (PERMISSION_DENIED) */
  administer(caller: Caller, call: string): void
  /** Whether the caller is an administrator: sees and ends everybody's builds. */
  administrator(caller: Caller): boolean
}

/** Everybody may do everything: a gateway without a policy in front of fixed nodes. */
export const admitAll: Admission = {
  solve: (_, request) => ({ request, encodeAnew: false, allowsNode: () => true, checkNode: () => undefined }),
  names: () => Promise.resolve(),
  bridgeSolve: (_, message) => message,
  bridgeReturn: () => undefined,
  administer: () => undefined,
  administrator: () => true,
}
