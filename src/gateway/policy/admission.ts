import type { SolveRequest } from '../../buildkit/gen/control_pb.ts'
import type { SolveRequest as BridgeSolveRequest } from '../../buildkit/gen/gateway_pb.ts'
import type { Caller } from '../listener/caller.ts'

/** What a caller may build, after the policy has looked at it. */
export interface Admitted {
  /** The request as far as it is allowed. */
  readonly request: SolveRequest
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
  /** LLBBridge/Solve. @returns the request as far as it is allowed. @throws InsituError POLICY (PERMISSION_DENIED) */
  bridgeSolve(caller: Caller, request: BridgeSolveRequest): BridgeSolveRequest
  /** LLBBridge/Return. @returns the message that the daemon gets. @throws InsituError POLICY (PERMISSION_DENIED) */
  bridgeReturn(caller: Caller, message: Uint8Array): Uint8Array
  /** Calls for administrators, e.g. `Prune`. @throws InsituError POLICY (PERMISSION_DENIED) */
  administer(caller: Caller, call: string): void
  /** Whether the caller is an administrator: sees and ends everybody's builds. */
  administrator(caller: Caller): boolean
}

/** Everybody may do everything: a gateway without a policy in front of fixed nodes. */
export const admitAll: Admission = {
  solve: (_, request) => ({ request, allowsNode: () => true, checkNode: () => undefined }),
  names: () => Promise.resolve(),
  bridgeSolve: (_, request) => request,
  bridgeReturn: (_, message) => message,
  administer: () => undefined,
  administrator: () => true,
}
