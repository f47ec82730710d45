import type { Finding } from '../../api/node-report.ts'
import type { Logger } from '../../kernel/log.ts'
import type { NamedDigest } from './ended-parts.ts'
import type { PutBack } from './keeper.ts'

/** Names are put back silently after this many: somebody fights with us, and the report is read by people. */
const shown = 5
/** Milliseconds for which one is reported. */
const life = 3_600_000

export interface PutBacksOptions {
  readonly changed: () => void
  /** Whether a part of a build of several nodes has just made this image here. @throws anything: then it has not. */
  readonly isOfPart: (image: NamedDigest) => Promise<boolean>
  readonly log: Logger
  /** Milliseconds since 1970. */
  readonly now?: () => number
}

/** What was put back lately, for the log, the report and metrics. */
export function createPutBacks({ changed, isOfPart, log, now = Date.now }: PutBacksOptions) {
  const recent: (PutBack & { readonly at: number })[] = []
  const counts = { record: 0, protected: 0 }
  const timers = new Set<NodeJS.Timeout>()
  let stopped = false
  const note = (event: PutBack & { readonly at: number }): void => {
    counts[event.as] += 1
    const before = recent.findIndex(({ name }) => name === event.name)
    if (before >= 0) recent.splice(before, 1)
    recent.push(event)
    if (recent.length > shown) recent.shift()
    const timer = setTimeout(() => {
      timers.delete(timer)
      changed()
    }, life + 1000).unref()
    timers.add(timer)
    changed()
  }
  const say = ({ name, digest, instead, as }: PutBack): void => {
    const what = as === 'record' ? 'a built image' : 'a protected image'
    if (instead === undefined) log.warn({ name, digest }, `${what} was deleted while it is wanted, and was put back`)
    else log.warn({ name, digest, instead }, `${what} was overwritten on the node, and was put back`)
  }
  return {
    /**
     * Nobody has done anything wrong where a part of a build ended before the others: it wrote the name before all was there
     * that the name is to mean. The daemon is asked about that only now, when the name is back, whoever overwrote it.
     */
    async add(event: PutBack): Promise<void> {
      const { name, instead, as } = event
      const at = now()
      if (as === 'record' && instead !== undefined) {
        const isOurs = await isOfPart({ name, digest: instead }).catch(() => false)
        if (stopped) return
        if (isOurs)
          return log.info({ name, digest: instead }, 'a part of a build waits for the others without its name')
      }
      say(event)
      note({ ...event, at })
    },
    findings: (): Finding[] =>
      recent
        .filter(({ at }) => now() - at < life)
        .map(({ name, digest, instead, as, at }) => ({
          code: 'IMAGE_PUT_BACK',
          severity: 'warning',
          message:
            `${name} was ${instead === undefined ? 'deleted' : `overwritten with ${instead}`} on this node at ` +
            `${new Date(at).toISOString()} and was put back to ${digest}`,
          fix:
            as === 'record'
              ? 'build it again through the gateway instead of changing it on the node'
              : 'build under another name; to replace the image on purpose, delete it first, or pull or import the new one',
        })),
    /** @param images how many built images the node has. */
    metrics: (images: number): string =>
      [
        '# HELP insitu_built_images Built images that this node has.',
        '# TYPE insitu_built_images gauge',
        `insitu_built_images ${images}`,
        '# HELP insitu_image_put_backs_total Names that were overwritten or deleted past the gateway and were put back.',
        '# TYPE insitu_image_put_backs_total counter',
        `insitu_image_put_backs_total{kind="built"} ${counts.record}`,
        `insitu_image_put_backs_total{kind="protected"} ${counts.protected}`,
        '',
      ].join('\n'),
    stop(): void {
      stopped = true
      for (const timer of timers) clearTimeout(timer)
    },
  }
}
