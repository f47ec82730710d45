import { normalizeReference, repositoryOf } from '../../buildkit/reference.ts'
import { gateway, type RequestFacts } from '../../buildkit/request-facts.ts'
import { type Caller, describeCaller } from '../listener/caller.ts'
import { fitsAny, tenantOf } from './match.ts'
import { coversName } from './names.ts'
import type { Policy, Tenant } from './policy.ts'

/** What a policy says to a request. */
export type Decision =
  | { readonly allowed: true; readonly tenant: Tenant }
  | {
      readonly allowed: false
      readonly tenant: Tenant | undefined
      /** What decided: `tenant "team-a": names`, or `always` for what no policy can allow. */
      readonly rule: string
      /** Why, a sentence without a full stop. */
      readonly why: string
      readonly fix: string | undefined
    }

/** A request that wants nothing. */
export const noFacts: RequestFacts = {
  ...{ exporters: [], sessionExporter: false, entitlements: [], frontends: [], platforms: [], cacheTo: [] },
  ...{ cacheFrom: [], resultNames: [], llb: { platforms: [], cgroupParents: [], nested: false } },
}

type Refusal = Pick<Extract<Decision, { allowed: false }>, 'why' | 'fix'> & { readonly rule: string }

/** Decides a request of a caller. Pure: the same for the gateway and for `insitu policy check`. */
export function decide(policy: Policy, caller: Caller, facts: RequestFacts): Decision {
  const tenant = tenantOf(policy, caller)
  if (!tenant) {
    return {
      ...{ allowed: false, tenant, rule: policy.name },
      why: `${describeCaller(caller)} belongs to no tenant`,
      fix: 'add the caller to the match of a [[tenant]]',
    }
  }
  const refusal = always(facts) ?? byRights(tenant, caller, facts)
  return refusal ? { allowed: false, tenant, ...refusal } : { allowed: true, tenant }
}

/** What no policy can allow, because the rest of the policy would mean nothing. */
function always(facts: RequestFacts): Refusal | undefined {
  const refuse = (why: string, fix?: string): Refusal => ({ rule: 'always', why, fix })
  const names = [...facts.exporters.flatMap((e) => e.names), ...facts.resultNames]
  if (names.some((name) => name.includes('*'))) {
    return refuse('a frontend may not choose the name of an image ("*")', 'say the name')
  }
  if (facts.sessionExporter) {
    return refuse('exporters that the client hands in during the build cannot be checked', 'name them in the request')
  }
  const [group] = facts.llb.cgroupParents
  if (group !== undefined) return refuse(`the build may not choose its control group ("${group}")`)
  if (facts.llb.nested) return refuse('operations that are made during the build cannot be checked')
  return undefined
}

function byRights(tenant: Tenant, caller: Caller, facts: RequestFacts): Refusal | undefined {
  const { rights } = tenant
  const refuse = (key: string, why: string, fix?: string): Refusal => ({
    rule: `tenant "${tenant.name}": ${key}`,
    why,
    fix: fix ?? `add it to ${key} of the tenant`,
  })
  const bad = (allowed: readonly string[], wanted: readonly string[]): string | undefined =>
    wanted.find((text) => !fitsAny(allowed, text))

  const exporter = bad(
    rights.exporters,
    facts.exporters.map((e) => e.type),
  )
  if (exporter !== undefined) return refuse('exporters', `exporter ${exporter} is not allowed`)
  for (const name of [...facts.exporters.flatMap((e) => e.names), ...facts.resultNames]) {
    const normal = normalOf(name)
    if (normal === undefined) return refuse('names', `"${name}" is not an image name`, 'correct the name')
    if (!rights.names.some((entry) => coversName(entry, normal, caller))) {
      return refuse('names', `the name ${normal} is not allowed`)
    }
  }
  const entitlement = bad(rights.entitlements, facts.entitlements)
  if (entitlement !== undefined) return refuse('entitlements', `entitlement ${entitlement} is not allowed`)
  const frontend = facts.frontends.find((wanted) => !rights.frontends.some((entry) => coversFrontend(entry, wanted)))
  if (frontend !== undefined) return refuse('frontends', `frontend ${frontend} is not allowed`)
  const platform = bad(rights.platforms, facts.platforms)
  if (platform !== undefined) return refuse('platforms', `platform ${platform} is not allowed`)
  const cacheTo = bad(rights.cacheTo, facts.cacheTo)
  if (cacheTo !== undefined) return refuse('cacheTo', `cache type ${cacheTo} is not allowed`)
  const cacheFrom = bad(rights.cacheFrom, facts.cacheFrom)
  if (cacheFrom !== undefined) return refuse('cacheFrom', `cache type ${cacheFrom} is not allowed`)
  return undefined
}

/** Whether the caller may give a name to an image, as far as that can be said without a build. */
export const decideName = (policy: Policy, caller: Caller, name: string): Decision =>
  decide(policy, caller, { ...noFacts, resultNames: [name] })

/** Whether the caller may build on a node. */
export function decideNode({ name, rights }: Tenant, node: string): Decision | undefined {
  if (fitsAny(rights.nodes, node)) return undefined
  return {
    ...{ allowed: false, tenant: undefined, rule: `tenant "${name}": nodes` },
    why: `node ${node} is not allowed`,
    fix: 'add it to nodes of the tenant',
  }
}

/**
 * Whether Dockerfiles may choose their own frontend (`# syntax=`): nobody sees the line before the build, so only who
 * may use every one.
 */
export const anyFrontend = ({ rights }: Tenant): boolean => rights.frontends.some((f) => f === '*' || f === gateway)

function coversFrontend(entry: string, wanted: string): boolean {
  if (entry === '*' || entry === wanted) return true
  if (!wanted.startsWith(`${gateway}:`)) return false
  if (entry === gateway) return true
  const [allowed, source] = [entry, wanted].map((text) => repository(text.slice(gateway.length + 1)))
  return entry.startsWith(`${gateway}:`) && source !== undefined && allowed === source
}

const repository = (name: string): string | undefined => {
  try {
    return repositoryOf(name)
  } catch {
    return undefined
  }
}

function normalOf(name: string): string | undefined {
  try {
    return normalizeReference(name)
  } catch {
    return undefined
  }
}
