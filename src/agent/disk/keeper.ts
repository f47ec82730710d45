import { setTimeout as sleep } from 'node:timers/promises'
import type { FileSystemUse } from '../../api/disk.ts'
import type { Finding } from '../../api/node-report.ts'
import { describeError } from '../../kernel/errors.ts'
import type { Logger } from '../../kernel/log.ts'
import { leakedLeases } from './account.ts'
import { limitFindings } from './findings.ts'
import { namesToRemove, removableImages } from './images.ts'
import type { NodeDisk } from './node.ts'
import { atLimit, type Holdings, needs, nextPause, planReclaim, type Step } from './plan.ts'
import { difference } from './prune.ts'
import { removeTemporary } from './temporary.ts'

export interface KeeperOptions {
  readonly disk: NodeDisk
  readonly log: Logger
  /** Milliseconds between two looks at the file systems: a few system calls. Default 1,000. */
  readonly interval?: number
  /** Most milliseconds before the next try when nothing could be removed. Default 30,000. */
  readonly patience?: number
  /** Told when the node reaches its limit or is below its high marks again. */
  readonly onFindings: (findings: readonly Finding[]) => void
}

/** What was freed since the agent started, by step. */
export interface Reclaimed {
  readonly step: Step['do']
  readonly bytes: number
  readonly inodes: number
}

export interface Keeper {
  /** The last measurement. */
  fileSystems(): readonly FileSystemUse[]
  reclaimed(): readonly Reclaimed[]
  findings(): readonly Finding[]
  /** Ends the watch; a step under way is awaited. */
  stop(): Promise<void>
}

/**
 * Keeps a node below its marks: looks, plans, frees step by step, and looks again after each. While no daemon runs only
 * what needs none is removed.
 * It keeps nothing on disk: after a restart of the agent, the daemon or containerd the next look begins anew.
 */
export function startKeeper(options: KeeperOptions): Keeper {
  const { disk, log, interval = 1000 } = options
  const ended = new AbortController()
  const freed = new Map<Step['do'], { bytes: number; inodes: number }>()
  let fileSystems: readonly FileSystemUse[] = []
  let findings: readonly Finding[] = []
  let reclaiming = false
  let notBefore = 0
  let pause = 0

  const measure = async (): Promise<void> => {
    fileSystems = await disk.measure()
    const limited = atLimit(fileSystems)
    // What was said is taken back below the high mark, not at the limit: a node does not flicker.
    const still = findings.length > 0 && needs(fileSystems, false).length > 0
    const next = limited.length > 0 ? limitFindings(limited) : still ? findings : []
    if (next.map((f) => f.code).join() === findings.map((f) => f.code).join()) return
    findings = next
    for (const { code, fix, message } of findings) log.error({ code, fix }, message)
    if (findings.length === 0) log.info('the disk is below its high mark again: the node takes builds')
    options.onFindings(findings)
  }

  const look = async (): Promise<void> => {
    await measure()
    let need = needs(fileSystems, reclaiming)
    reclaiming = need.length > 0
    if (!reclaiming || performance.now() < notBefore) return
    const start = fileSystems
    let removed = 0
    log.info({ need }, 'the disk is filling: removing what nothing needs')
    const done = new Set<string>()
    // Each step changes what the next one finds: images that are gone share no cache any more.
    for (;;) {
      const step = planReclaim(need, await holdings()).find((one) => !done.has(nameOf(one)))
      if (!step || ended.signal.aborted) break
      done.add(nameOf(step))
      const before = fileSystems
      removed += await take(step)
      await measure()
      const { bytes, inodes } = difference(before, fileSystems)
      const sum = freed.get(step.do) ?? { bytes: 0, inodes: 0 }
      freed.set(step.do, { bytes: sum.bytes + Math.max(0, bytes), inodes: sum.inodes + Math.max(0, inodes) })
      need = needs(fileSystems, true)
      if (need.length === 0) break
    }
    reclaiming = need.length > 0
    const total = difference(start, fileSystems)
    log.info({ freed: total, enough: !reclaiming }, 'removed what nothing needs')
    // Not what became free in all decides: builds that run may have written more meanwhile.
    rest(removed)
  }

  const rest = (removed: number): void => {
    pause = nextPause(pause, removed, interval, options.patience ?? 30_000)
    notBefore = performance.now() + pause
  }

  const holdings = async (): Promise<Holdings> => {
    const alone = disk.alone()
    const books = await disk.books(alone)
    const sum = (list: readonly { readonly bytes: number }[]): number => list.reduce((all, { bytes }) => all + bytes, 0)
    const unused = books.records.filter((record) => !record.inUse)
    const runningBuilds = alone && disk.alone() ? 0 : await disk.cache.runningBuilds()
    const removable = removableImages(books.stored, books.snapshotter, books.built)
    return {
      cacheBytes: sum(books.records.filter((record) => !record.shared)),
      unusedCacheBytes: sum(unused),
      stickyCacheBytes: sum(unused.filter(({ kind, shared }) => shared || kind === 'internal' || kind === 'frontend')),
      leaked: leakedLeases(books).length,
      temporary: runningBuilds > 0 ? [] : (await disk.temporary()).filter(({ stale }) => stale).map(({ path }) => path),
      untagged: removable.untagged.map((image) => image.name),
      images: removable.named.map((image) => image.name),
      runningBuilds,
      alone,
    }
  }

  /** How many things went. */
  const take = async (step: Step): Promise<number> => {
    switch (step.do) {
      case 'leaked': {
        const leases = leakedLeases(await disk.books(disk.alone()))
        for (const [i, { id }] of leases.entries()) await disk.removeLease(id, i === leases.length - 1)
        return leases.length
      }
      case 'temporary':
        for (const path of step.paths) await removeTemporary(path)
        return step.paths.length
      case 'cache': {
        let records = 0
        await disk.cache.prune({ all: step.all, keepBytes: step.keepBytes, onRemoved: () => (records += 1) })
        return records
      }
      case 'untagged':
        return removeImages(step.names, () => true)
      case 'images':
        return removeImages(step.names, async () => (await disk.cache.runningBuilds()) === 0)
    }
  }

  /** One by one, oldest first, until it is enough. What became used or protected meanwhile stays. */
  const removeImages = async (wanted: readonly string[], may: () => boolean | Promise<boolean>): Promise<number> => {
    let removed = 0
    for (const name of wanted) {
      const { stored, snapshotter, built } = await disk.books(disk.alone())
      const { untagged, named } = removableImages(stored, snapshotter, built)
      const image = [...untagged, ...named].find((one) => one.name === name)
      if (!image || ended.signal.aborted || !(await may())) continue
      const names = namesToRemove(stored.images, [image])
      const gone = await disk.removeImages(stored.images.filter((one) => names.includes(one.name)))
      if (!gone.has(name)) continue
      removed += 1
      log.info({ image: name }, 'removed an image that nothing uses or protects')
      await measure()
      if (needs(fileSystems, true).length === 0) break
    }
    return removed
  }

  const run = async (): Promise<void> => {
    while (!ended.signal.aborted) {
      try {
        await look()
      } catch (error) {
        // The daemon or containerd is away: the supervision says so; the next look finds what is left.
        log.warn({ err: describeError(error) }, 'the disk could not be looked at')
        rest(0)
      }
      await sleep(interval, undefined, { signal: ended.signal, ref: false }).catch(() => undefined)
    }
  }
  const running = run()
  return {
    fileSystems: () => fileSystems,
    reclaimed: () => [...freed].map(([step, amount]) => ({ step, ...amount })),
    findings: () => findings,
    async stop() {
      ended.abort(new Error('the keeper was told to stop'))
      await running
    },
  }
}

const nameOf = (step: Step): string => (step.do === 'cache' && step.all ? 'all cache' : step.do)
