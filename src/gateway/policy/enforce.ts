import { toBinary } from '@bufbuild/protobuf'
import { ReturnRequestSchema } from '../../buildkit/gen/gateway_pb.ts'
import {
  decodeReturn,
  factsOfBridgeSolve,
  factsOfSolve,
  namesOfReturn,
  type RequestFacts,
} from '../../buildkit/request-facts.ts'
import { InsituError } from '../../kernel/errors.ts'
import type { Logger } from '../../kernel/log.ts'
import { type Caller, describeCaller, identityOf } from '../listener/caller.ts'
import type { Admission } from './admission.ts'
import { anyFrontend, decide, decideNode, type Decision, noFacts } from './decide.ts'
import { tenantOf } from './match.ts'
import { narrowBridgeSolve, narrowSolve } from './narrow.ts'
import type { Policy, Tenant } from './policy.ts'
import type { ProtectedNames } from './protected.ts'
import { createRateLimit, type RateLimit } from './rate.ts'

export interface EnforceOptions {
  readonly policy: () => Policy
  /** Names that nodes have and insitu did not build. */
  readonly protectedNames?: ProtectedNames | undefined
  readonly rate?: RateLimit | undefined
  readonly logger: Logger
  /** Counts refusals by rule, for metrics. */
  readonly onRefusal?: ((rule: string) => void) | undefined
}

/** Holds callers to a policy, which may change between any two calls. */
export function createAdmission(options: EnforceOptions): Admission {
  const { policy, rate = createRateLimit(), protectedNames, logger, onRefusal } = options

  const refuse = (caller: Caller, decision: Extract<Decision, { allowed: false }>): InsituError => {
    const { rule, why, fix } = decision
    logger.warn({ caller: describeCaller(caller), rule, why }, 'refused by the policy')
    onRefusal?.(rule)
    return new InsituError('POLICY', `${why} (rule: ${rule})`, { status: 'PERMISSION_DENIED', fix })
  }
  const check = (caller: Caller, facts: RequestFacts): Tenant => {
    const decision = decide(policy(), caller, facts)
    if (!decision.allowed) throw refuse(caller, decision)
    return decision.tenant
  }
  const takeTurn = (caller: Caller): void => {
    const perMinute = tenantOf(policy(), caller)?.rights.solvesPerMinute ?? 0
    const wait = rate.take(identityOf(caller), perMinute)
    if (wait === 0) return
    onRefusal?.('solvesPerMinute')
    throw new InsituError(
      'RATE',
      `${describeCaller(caller)} starts more than ${perMinute} builds a minute; try again in ${Math.ceil(wait / 1000)} s`,
      { status: 'RESOURCE_EXHAUSTED', fix: 'start builds more slowly, or raise solvesPerMinute of the tenant' },
    )
  }
  const administrator = (caller: Caller): boolean => tenantOf(policy(), caller)?.rights.administrator ?? false

  return {
    solve(caller, request) {
      takeTurn(caller)
      const tenant = check(caller, factsOfSolve(request))
      return {
        request: narrowSolve(request, anyFrontend(tenant)),
        allowsNode: (node) => decideNode(tenant, node) === undefined,
        checkNode(node) {
          const decision = decideNode(tenant, node)
          if (decision && !decision.allowed) throw refuse(caller, decision)
        },
      }
    },
    async names(caller, images, nodes, signal) {
      const taken = await protectedNames?.find(images, nodes, signal)
      if (!taken) return
      throw refuse(caller, {
        ...{ allowed: false, tenant: undefined, rule: 'protected names' },
        why: `node ${taken.node} has ${taken.name}, and it was not built through insitu`,
        fix: 'build under another name, or remove that image from the node first',
      })
    },
    bridgeSolve(caller, request) {
      const tenant = check(caller, factsOfBridgeSolve(request))
      return narrowBridgeSolve(request, anyFrontend(tenant))
    },
    bridgeReturn(caller, message) {
      const request = decodeReturn(message)
      const names = namesOfReturn(request)
      if (names.length > 0) check(caller, { ...noFacts, resultNames: names })
      return toBinary(ReturnRequestSchema, request)
    },
    administer(caller, call) {
      if (administrator(caller)) return
      throw refuse(caller, {
        ...{ allowed: false, tenant: undefined, rule: 'administrator' },
        why: `${call} is for administrators, and ${describeCaller(caller)} is none`,
        fix: 'ask one, or set administrator = true in the caller’s tenant',
      })
    },
    administrator,
  }
}
