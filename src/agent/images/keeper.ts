import type { BuiltImage } from '../../api/images.ts'
import { describeError } from '../../kernel/errors.ts'
import type { Logger } from '../../kernel/log.ts'
import type { ContainerdImages } from './containerd-images.ts'
import type { Holds } from './holds.ts'
import { judge, originOf } from './judge.ts'
import { builtChanges, pinChanges, reasonLabel } from './pins.ts'
import { planPins } from './plan-pins.ts'
import { createPullBacks } from './pull-backs.ts'
import { type Arrival, type ImageRecord, isAlias, type Memory, type NodeImage } from './record.ts'
import { createTimers } from './timers.ts'

export interface KeeperOptions {
  readonly images: ContainerdImages
  readonly holds: Holds
  readonly memory: Memory
  /** Writes the memory down. */
  readonly save: (memory: Memory) => Promise<void>
  /** Gets an image from other nodes by its digest; its name is left alone. */
  readonly pull: (image: Pick<BuiltImage, 'name' | 'digest'>) => Promise<void>
  /** Names that builds in progress will write. */
  readonly building: () => Promise<ReadonlySet<string>>
  readonly config: { readonly keep: number; readonly keepFor: number }
  readonly log: Logger
  /** The list of built images is another one now. `arrival`: by an image that came. */
  readonly onRevision: (arrival?: Arrival) => void
  readonly onPutBack: (event: PutBack) => void
  /** Milliseconds since 1970. */
  readonly now?: () => number
  /** Milliseconds for which a built name may point elsewhere before it is put back. Default 600. */
  readonly patience?: number
  /** Milliseconds after which a name that is gone is forgotten; `ctr images tag --force` deletes and creates. Default 2,000. */
  readonly grace?: number
}

/** A name was overwritten past the door, or deleted although it is wanted. */
export interface PutBack {
  readonly name: string
  readonly digest: string
  /** What it pointed to; undefined: it was deleted. */
  readonly instead: string | undefined
  readonly as: 'record' | 'protected'
}

/** Keeps the names of one node as they should be. All of its doing is one thing at a time. */
export interface Keeper {
  readonly memory: Memory
  /** All names as containerd has them. */
  readonly current: ReadonlyMap<string, NodeImage>
  /** One name has changed. */
  note(name: string): Promise<void>
  /** Containers came or went. */
  noteContainers(): Promise<void>
  /** Looks at everything anew. */
  reconcile(): Promise<void>
  /** A name gets this digest by somebody who may: it is recorded when it is there. */
  announce(image: BuiltImage, arrival: Arrival): void
  /** Runs a change of the memory, looks at the name that it is about, and applies what follows. */
  change<T>(work: () => Promise<T> | T, name?: string): Promise<T>
  /** The memory has changed: it is written down after this change; with `list` gateways are told to ask again. */
  revise(list: boolean): void
  /** What a name pointed to that was taken from an image a moment ago. */
  disputed(digest: string): Uint8Array | undefined
  /** Within a change: keeps the content of images that have lost their name, or are about to, while it may be theirs again. */
  dispute(images: readonly Pick<NodeImage, 'digest' | 'target'>[]): Promise<void>
  stop(): Promise<void>
}

/**
 * How long an announcement is remembered, in milliseconds: a pull is announced when it begins, and containerd writes the name
 * when all layers are here and unpacked. It is bound to name and digest.
 */
const announcementLife = 24 * 3_600_000
/**
 * How long content that lost its name is remembered, in milliseconds: of a build that may still be announced, also after the
 * name was put back, as its other parts may end on other nodes later; and of everything else that was put back.
 */
export const claimLife = 15 * 60_000
const disputeLife = 60_000

const announcementKey = (name: string, digest: string): string => `${name} ${digest}`

export function createKeeper(options: KeeperOptions): Keeper {
  const { images, holds, memory, log } = options
  const now = options.now ?? Date.now
  const current = new Map<string, NodeImage>()
  /** By name and digest: builds and deliveries of one name may be under way together. */
  const announcements = new Map<string, { image: BuiltImage; arrival: Arrival; until: number }>()
  const disputes = new Map<string, { target: Uint8Array; until: number }>()
  /** Digests that insitu built and that lost their name: a container may still use them. */
  const former = new Set<string>()
  const pullBacks = createPullBacks({
    ...{ log, now },
    async pull(record) {
      await options.pull(record)
      await giveBack(record)
    },
  })
  const timers = createTimers()
  let used: ReadonlySet<string> = new Set()
  let held = ''
  let recalled = false
  let saved = true
  let queue: Promise<unknown> = Promise.resolve()
  let stopped = false

  const exclusive = <T>(work: () => Promise<T>): Promise<T> => {
    const turn = queue.then(work)
    queue = turn.catch(() => undefined)
    return turn
  }
  const quietly = (work: Promise<unknown>): void =>
    void work.catch((error: unknown) => log.warn({ err: describeError(error) }, 'images could not be looked after'))

  const revise = (list = true, arrival?: Arrival): void => {
    saved = false
    if (list) options.onRevision(arrival)
  }
  const announcementOf = (name: string, digest: string) => {
    const found = announcements.get(announcementKey(name, digest))
    return found && found.until > now() ? found : undefined
  }
  /** Its content stays for so many milliseconds at least, while a build may still claim a name for it. */
  const contest = ({ digest, target }: Pick<NodeImage, 'digest' | 'target'>, life: number): void =>
    void disputes.set(digest, { target, until: Math.max(disputes.get(digest)?.until ?? 0, now() + life) })
  /** Digests that insitu built: recorded ones, and those that a container uses although they lost their name. */
  const ours = (): Set<string> => new Set([...[...memory.records.values()].map(({ digest }) => digest), ...former])
  const isWanted = (name: string, digest: string): boolean => memory.wanted.has(name) || used.has(digest)

  /** What the memory says about a name, and whether it protects it. */
  const remembered = (name: string) => {
    const record = memory.records.get(name)
    if (record) return { digest: record.digest, target: record.target, as: 'record' as const }
    const known = memory.known.get(name)
    return (
      known && ({ digest: known.digest, target: known.target, as: known.built ? 'unrecorded' : 'protected' } as const)
    )
  }

  const accept = (image: NodeImage, built: boolean): void => {
    const { name, digest, target } = image
    const news = announcementOf(name, digest)
    const record = memory.records.get(name)
    if (news && !(record && record.digest === digest && record.version >= news.image.version)) {
      if (record && record.digest !== digest) former.add(record.digest)
      const { version } = news.image
      memory.records.set(name, { name, digest, version, target, arrival: news.arrival, since: now(), lastUsed: 0 })
      memory.known.delete(name)
      revise(true, news.arrival)
    } else if (record && record.digest !== digest) {
      former.add(record.digest)
      memory.records.delete(name)
      memory.known.set(name, { name, digest, target, built })
      log.info({ name, digest }, 'a built image was replaced by one that insitu did not build')
      revise()
    } else if (!record && memory.known.get(name)?.digest !== digest) {
      memory.known.set(name, { name, digest, target, built })
      saved = false
    }
  }

  const putBack = async (name: string, instead: NodeImage | undefined): Promise<void> => {
    const before = remembered(name)
    if (!before || before.as === 'unrecorded') return
    const { digest, target, as } = before
    if ((await images.contentLabels(digest)) === undefined) return pullBack(name)
    if (instead) {
      contest(instead, disputeLife)
      await images.setTarget(name, target)
    } else {
      await images.create(name, target, {})
    }
    options.onPutBack({ name, digest, instead: instead?.digest, as })
    await seeAgain(name)
  }

  /** @returns the newer one, where an older build of the name, or its delivery, has ended after that came. */
  const overtaking = ({ name, digest }: NodeImage): ImageRecord | undefined => {
    const [record, news] = [memory.records.get(name), announcementOf(name, digest)]
    return record && news && record.version > news.image.version ? record : undefined
  }
  const takeBack = async ({ name, digest }: NodeImage, newer: ImageRecord): Promise<void> => {
    if ((await images.contentLabels(newer.digest)) === undefined) return pullBack(name)
    await images.setTarget(name, newer.target)
    log.info({ name, digest, newer: newer.digest }, 'a built image that was overtaken gave the name back')
    await seeAgain(name)
  }
  /** What was just written there. */
  const seeAgain = async (name: string): Promise<void> => {
    const restored = await images.get(name)
    if (restored) current.set(name, restored)
  }

  /** Its content is gone too: it comes from the other nodes. */
  const pullBack = (name: string): void => {
    const record = memory.records.get(name)
    if (record) pullBacks.begin(record, () => announce(record, record.arrival))
  }

  /** What was pulled by its digest has its name again, unless that got another image meanwhile. */
  const giveBack = ({ name, digest }: ImageRecord): Promise<void> =>
    exclusive(async () => {
      const record = memory.records.get(name)
      if (stopped || record?.digest !== digest) return
      const here = await images.get(name)
      if (!here) await images.create(name, record.target, {})
      else if (here.digest !== digest) await images.setTarget(name, record.target)
      await seeAgain(name)
      await apply()
    })

  const forget = (name: string): void => {
    const record = memory.records.get(name)
    if (record) {
      memory.records.delete(name)
      log.info({ name, digest: record.digest }, 'a built image is gone from this node')
      revise()
    }
    if (memory.known.delete(name)) saved = false
  }

  const settleGone = async (name: string, overdue: boolean): Promise<void> => {
    current.delete(name)
    const record = memory.records.get(name)
    if (record && isWanted(name, record.digest)) return putBack(name, undefined)
    if (!record && !memory.known.has(name)) return
    if (overdue) forget(name)
    else timers.set(name, options.grace ?? 2000, () => quietly(look(name, true)))
  }

  const settle = async (
    name: string,
    image: NodeImage | undefined,
    overdue: boolean,
    building = options.building,
  ): Promise<void> => {
    if (isAlias(name)) return void (image ? current.set(name, image) : current.delete(name))
    if (!image) return settleGone(name, overdue)
    const before = remembered(name)
    current.set(name, image)
    if (before?.digest === image.digest) {
      timers.clear(name)
      return accept(image, before.as === 'unrecorded')
    }
    const newer = overtaking(image)
    if (newer) return takeBack(image, newer)
    const isBeingBuilt = async (): Promise<boolean> => (await building().catch(() => new Set<string>())).has(name)
    const announced = announcementOf(name, image.digest) !== undefined
    const content = (await images.contentLabels(image.digest)) ?? {}
    const origin = originOf(image, content, (other) => current.has(other))
    const verdict = judge({
      before,
      after: { digest: image.digest, origin },
      announced,
      moved: [...memory.records.values(), ...memory.known.values()].some(
        (other) => other.name !== name && other.digest === image.digest,
      ),
    })
    if (verdict === 'accept') {
      timers.clear(name)
      // A pull that a registry has answered meanwhile must not keep a build from its own name.
      const open = origin === 'pulled' && !announced && before?.as !== 'protected' && (await isBeingBuilt())
      return accept(image, origin === 'built' || open)
    }
    const late = overdue && !(await isBeingBuilt())
    if (verdict === 'restore' || late) return putBack(name, image)
    contest(image, claimLife)
    timers.set(name, options.patience ?? 600, () => quietly(look(name, true)))
  }

  const hold = async (): Promise<void> => {
    const known = [...memory.known.values()].map(({ digest }) => digest)
    const own = ours()
    const keep = new Set([...own, ...known, ...disputes.keys()])
    const wanted = [...keep].toSorted().join(' ')
    if (wanted !== held) await holds.keep(keep, own)
    held = wanted
  }

  const apply = async (): Promise<void> => {
    for (const [digest, { until }] of disputes) if (until < now()) disputes.delete(digest)
    for (const [key, { until }] of announcements) if (until < now()) announcements.delete(key)
    for (const digest of former) if (!used.has(digest)) former.delete(digest)
    const records = [...memory.records.values()]
    const pins = planPins({
      ...{ records, images: [...current.values()], inUse: used, ours: ours() },
      ...{ wanted: memory.wanted, now: now(), config: options.config },
    })
    for (const { image, labels } of [...pinChanges(current.values(), pins), ...builtChanges(current, records)]) {
      await images.setLabels(image, labels)
      const changed = await images.get(image.name)
      if (changed) current.set(image.name, changed)
    }
    await hold()
    if (saved) return
    await options.save(memory)
    saved = true
  }

  const readContainers = async (): Promise<void> => {
    const names = await images.inContainers()
    used = new Set([...names].flatMap((name) => current.get(name)?.digest ?? []))
    for (const record of memory.records.values()) {
      // Once an hour is exact enough for people, and spares the disk.
      if (!used.has(record.digest) || now() - record.lastUsed < 3_600_000) continue
      memory.records.set(record.name, { ...record, lastUsed: now() })
      saved = false
    }
  }

  /** What the last agent has pinned because of a container, and whose name had gone to another image: the pin alone tells. */
  const recallFormer = (images: Iterable<NodeImage>): void => {
    for (const { name, digest, labels } of images) {
      if (isAlias(name) && reasonLabel in labels && used.has(digest)) former.add(digest)
    }
  }

  const look = (name: string, overdue: boolean): Promise<void> =>
    exclusive(async () => {
      if (stopped) return
      await settle(name, await images.get(name), overdue)
      await apply()
    })

  const announce = (image: BuiltImage, arrival: Arrival): void => {
    announcements.set(announcementKey(image.name, image.digest), { image, arrival, until: now() + announcementLife })
  }

  return {
    memory,
    current,
    announce,
    revise,
    note: (name) => look(name, false),
    noteContainers: () =>
      exclusive(async () => {
        await readContainers()
        await apply()
      }),
    reconcile: () =>
      exclusive(async () => {
        if (stopped) return
        const found = new Map((await images.list()).map((image) => [image.name, image]))
        const names = new Set([...found.keys(), ...current.keys(), ...memory.records.keys(), ...memory.known.keys()])
        // All first: whether a name was pulled is told by the names beside it, what is used by the names of containers.
        for (const [name, image] of found) current.set(name, image)
        await readContainers()
        let asked: Promise<ReadonlySet<string>> | undefined
        const building = (): Promise<ReadonlySet<string>> => (asked ??= options.building())
        for (const name of names) await settle(name, found.get(name), false, building)
        if (!recalled) recallFormer(found.values())
        recalled = true
        held = ''
        await apply()
      }),
    change: (work, name) =>
      exclusive(async () => {
        const result = await work()
        if (name !== undefined && !stopped) await settle(name, await images.get(name), false)
        await apply()
        return result
      }),
    disputed: (digest) => disputes.get(digest)?.target,
    async dispute(list) {
      for (const image of list) contest(image, disputeLife)
      await hold()
    },
    async stop() {
      stopped = true
      timers.stop()
      await queue
    },
  }
}
