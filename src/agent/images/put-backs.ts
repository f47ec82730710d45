import type { Finding } from '../../api/node-report.ts'
import type { PutBack } from './keeper.ts'

/** Names are put back silently after this many: somebody fights with us, and the report is read by people. */
const shown = 5
/** Milliseconds for which one is reported. */
const life = 3_600_000

/** What was put back lately, for the report and for metrics. */
export function createPutBacks(changed: () => void, now: () => number = Date.now) {
  const recent: (PutBack & { readonly at: number })[] = []
  const counts = { record: 0, protected: 0 }
  const timers = new Set<NodeJS.Timeout>()
  return {
    add(event: PutBack): void {
      counts[event.as] += 1
      const before = recent.findIndex(({ name }) => name === event.name)
      if (before >= 0) recent.splice(before, 1)
      recent.push({ ...event, at: now() })
      if (recent.length > shown) recent.shift()
      const timer = setTimeout(() => {
        timers.delete(timer)
        changed()
      }, life + 1000).unref()
      timers.add(timer)
      changed()
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
      for (const timer of timers) clearTimeout(timer)
    },
  }
}
