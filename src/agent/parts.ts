import { binfmtPart } from './binfmt/part.ts'
import { deliveryPart } from './delivery/part.ts'
import { diskPart } from './disk/part.ts'
import type { BuiltImages } from './images/built-images.ts'
import { createImages } from './images/images.ts'
import { type MirrorAccess, mirrorPart } from './mirror/part.ts'
import type { AgentOptions } from './options.ts'
import type { Part } from './part.ts'
import { proxyPart } from './proxy/part.ts'
import { rootlessPart } from './rootless/part.ts'
import { stepsPart } from './steps/part.ts'
import { turnsPart } from './turns/part.ts'

/** What an agent consists of besides the supervision of buildkitd. Parts that need each other are joined here. */
export function agentParts(options: AgentOptions): readonly Part[] {
  if (options.rootless) return [rootlessPart, turnsPart]
  let access: MirrorAccess | undefined
  const { part, built } = createImages(() => access)
  const names = (): Set<string> => new Set(built.list().map(({ name }) => name))
  // Who built what is known from gateways: without them (`insitu local`) every build would look like one past the door.
  const images = options.front ? [part] : []
  const interpreters = options.emulators ?? '/usr/libexec/insitu'
  return [
    ...[
      binfmtPart({ interpreters }),
      ...images,
      diskPart({ built: names, origins: () => built.origins() }),
      stepsPart,
      proxyPart(options),
      turnsPart,
    ],
    ...mirrorParts(options, built, {
      get: () => access,
      set: (next) => void (access = next),
    }),
  ]
}

/** A mirror is for clusters: it reads from other agents with the certificate of the front. */
function mirrorParts(
  { mirror, front, hostRoot = '/proc/1/root' }: AgentOptions,
  records: BuiltImages,
  access: { readonly get: () => MirrorAccess | undefined; readonly set: (next: MirrorAccess | undefined) => void },
): Part[] {
  if (!front || !mirror) return []
  const tls = Promise.resolve(front.tls)
  // The front says so when there is never a certificate.
  tls.catch(() => undefined)
  return [
    mirrorPart({ ...mirror, records, hostRoot, tls, onAccess: access.set }),
    deliveryPart({ mirror: access.get, arriving: (image) => records.arriving(image) }),
  ]
}
