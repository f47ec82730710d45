import { BlockList, isIP } from 'node:net'
import type { Caller } from '../listener/caller.ts'
import type { Match, Policy, Tenant } from './policy.ts'

/** Whether a text fits a pattern, in which `*` stands for any text. */
export function fits(pattern: string, text: string): boolean {
  const [first = '', ...rest] = pattern.split('*')
  if (rest.length === 0) return pattern === text
  if (!text.startsWith(first)) return false
  const last = rest.pop() as string
  let at = first.length
  for (const part of rest) {
    const found = text.indexOf(part, at)
    if (found < 0) return false
    at = found + part.length
  }
  return text.length - last.length >= at && text.endsWith(last)
}

export const fitsAny = (patterns: readonly string[], text: string): boolean => patterns.some((p) => fits(p, text))

/** The tenant a caller belongs to: the first of the policy that fits. */
export const tenantOf = (policy: Policy, caller: Caller): Tenant | undefined =>
  policy.tenants.find((tenant) => matches(tenant.match, caller))

function matches(match: Match, caller: Caller): boolean {
  if (match.anybody) return true
  switch (caller.kind) {
    case 'local':
    case 'loopback':
      return match.loopback
    case 'pod':
    case 'service-account': {
      if (fitsAny(match.namespaces, caller.namespace)) return true
      const { serviceAccount } = caller
      return serviceAccount !== undefined && fitsAny(match.serviceAccounts, `${caller.namespace}/${serviceAccount}`)
    }
    case 'cidr':
      return match.addresses.some((range) => within(caller.address, range))
    case 'person':
      return fitsAny(match.users, caller.name) || caller.groups.some((group) => fitsAny(match.groups, group))
  }
}

function within(address: string, range: string): boolean {
  const family = isIP(address)
  if (family === 0) return false
  const [network = '', bits] = range.split('/')
  const type = isIP(network) === 4 ? 'ipv4' : 'ipv6'
  const list = new BlockList()
  if (bits === undefined) list.addAddress(network, type)
  else list.addSubnet(network, Number(bits), type)
  return list.check(address, family === 4 ? 'ipv4' : 'ipv6')
}
