import type { Logger } from '../../../kernel/log.ts'
import type { BuiltContent, BuiltRecords } from '../built-content.ts'
import type { ContentStore } from '../content.ts'
import type { Gateways } from '../gateways.ts'
import type { Links } from '../links.ts'
import { createLookups } from '../lookups.ts'
import { createRemote } from '../remote.ts'
import { createRequests } from '../requests.ts'
import { type MirrorServer, startMirrorServer } from '../server.ts'
import type { Source } from '../source.ts'
import { finished } from './finished.ts'
import { heldBy } from './owner.ts'

export interface BasesOptions {
  readonly records: Omit<BuiltRecords, 'arriving'>
  readonly store: ContentStore
  readonly built: BuiltContent
  readonly source: Source
  readonly links: Links
  readonly gateways: Gateways
  /** The process that may ask. */
  readonly daemon: () => number | undefined
  /** Throws away what containerd has of a blob that came wrong: the daemon keeps its content there. */
  readonly discard: (digest: string) => Promise<void>
  readonly log: Logger
}

/** Milliseconds. A kubelet tries again, a build does not: gateways that are slow get more time than for pulls of pods. */
const first = 2000
const patience = 500

/**
 * The registry for the node's build daemon: images that insitu built, here or elsewhere, for `FROM`. buildkitd has no
 * configuration for a secret of ours, so the kernel is asked who is at the other end.
 */
export function startBases(options: BasesOptions): Promise<MirrorServer> {
  const { records, store, built, source, links, gateways, daemon, discard, log } = options
  const lookups = finished(createLookups({ gateways, first, patience }), gateways)
  const remote = createRemote({ source, links, lookups, planned: () => [], log })
  return startMirrorServer({
    ...{ host: '127.0.0.1', port: 0, token: undefined },
    async admits(socket) {
      const pid = daemon()
      const admitted = pid !== undefined && (await heldBy(pid, socket))
      if (!admitted) log.warn({ pid }, 'somebody else than the build daemon asked for bases and was refused')
      return admitted
    },
    handle: createRequests({
      ...{ records, store, lookups, built, remote, source, links, log, discard },
    }),
  })
}
