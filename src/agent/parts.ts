import { deliveryPart } from './delivery/part.ts'
import { diskPart } from './disk/part.ts'
import type { BuiltRecords } from './mirror/built-content.ts'
import { type MirrorAccess, mirrorPart } from './mirror/part.ts'
import type { AgentOptions } from './options.ts'
import type { Part } from './part.ts'

/** What an agent consists of besides the supervision of buildkitd. Parts that need each other are joined here. */
export function agentParts(options: AgentOptions): readonly Part[] {
  return [diskPart({ built: () => new Set() }), ...mirrorParts(options, nothingBuilt)]
}

/** A mirror is for clusters: it reads from other agents with the certificate of the front. */
function mirrorParts({ mirror, front, hostRoot = '/proc/1/root' }: AgentOptions, records: BuiltRecords): Part[] {
  if (!front || !mirror) return []
  const tls = Promise.resolve(front.tls)
  // The front says so when there is never a certificate.
  tls.catch(() => undefined)
  let access: MirrorAccess | undefined
  const onAccess = (next: MirrorAccess | undefined): void => void (access = next)
  return [
    mirrorPart({ ...mirror, records, hostRoot, tls, onAccess }),
    deliveryPart({ mirror: () => access, arriving: () => Promise.resolve() }),
  ]
}

const nothingBuilt: BuiltRecords = { find: () => undefined, list: () => [], revision: () => 0 }
