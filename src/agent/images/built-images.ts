import type { ImageOrigin } from '../../api/built-on.ts'
import type { BuiltAnswer, BuiltImage, RetractRequest, SharedIndex } from '../../api/images.ts'
import type { Logger } from '../../kernel/log.ts'
import type { ContentStore } from '../mirror/content.ts'
import type { ContainerdImages } from './containerd-images.ts'
import type { Keeper } from './keeper.ts'
import type { Origins } from './origins.ts'
import type { ImageRecord } from './record.ts'
import { reclaim } from './reclaim.ts'
import { retractNames } from './retract.ts'
import { nameIndex } from './shared-index.ts'

/** What insitu built and this node has: for gateways, the mirror, deliveries and the disk's budget. */
export interface BuiltImages {
  /** By normalised name, `docker.io/library/app:latest`; undefined unless the name points to it now. */
  find(name: string): BuiltImage | undefined
  list(): readonly BuiltImage[]
  /** Changes with every change of the list. */
  revision(): number
  /** Digests of the images that insitu did not build; absent where they are nobody's business. */
  readonly ordinary?: (() => readonly string[]) | undefined
  /**
   * Records and pins what was just built here. A name that another build has taken meanwhile goes to the newer one.
   * @param index what the names should point to where only a part of it was built here.
   * @param ref of the daemon's record of the build.
   */
  built(images: readonly BuiltImage[], index?: SharedIndex, ref?: string): Promise<BuiltAnswer>
  /** What the built images of this node were built on. */
  origins(): Promise<readonly ImageOrigin[]>
  /** A delivery or the mirror brings this image: it is recorded as soon as containerd has the name. */
  arriving(image: BuiltImage): Promise<void>
  /** … and this of it. Absent where containerd keeps what it has unpacked. */
  readonly arrivingContent?: ((digest: string) => Promise<void>) | undefined
  /** Takes names away whose copy here is older. @returns those. */
  drop(images: readonly BuiltImage[]): Promise<readonly string[]>
  /** Takes names away that a build has written here which has failed elsewhere. @returns those. */
  retract(request: RetractRequest): Promise<readonly string[]>
  /** Names in templates of workloads that may run here: all of them, as from now. */
  wanted(names: readonly string[]): Promise<void>
  /** A name that this node has and that insitu did not build: no build may write it. */
  isProtected(name: string): boolean
}

export interface BuiltImagesOptions {
  readonly keeper: Keeper
  readonly images: ContainerdImages
  /** To read manifests. */
  readonly store: Pick<ContentStore, 'read'>
  readonly origins: Origins
  readonly log: Logger
  readonly revision: () => number
  /** Names that builds in progress will write. */
  readonly building: () => Promise<ReadonlySet<string>>
}

export function builtImages(options: BuiltImagesOptions): BuiltImages {
  const { keeper, images, store, origins, log, revision, building } = options
  const { memory, current } = keeper
  const isHere = (record: ImageRecord): boolean => current.get(record.name)?.digest === record.digest
  const plain = ({ name, digest, version }: ImageRecord): BuiltImage => ({ name, digest, version })
  const find = (name: string): BuiltImage | undefined => {
    const record = memory.records.get(name)
    return record && isHere(record) ? plain(record) : undefined
  }
  const isProtected = (name: string): boolean => memory.known.get(name)?.built === false

  const record = async (image: BuiltImage, index: SharedIndex | undefined): Promise<string | undefined> => {
    const { name, digest, version } = image
    const old = memory.records.get(name)
    if (old && old.version > version) {
      // The name goes back to the newer one as soon as this one is seen.
      keeper.announce(image, 'built')
      return undefined
    }
    if (isProtected(name) && memory.known.get(name)?.digest !== digest) {
      return 'the node had it before, and insitu did not build it'
    }
    keeper.announce(image, 'built')
    if (index) await nameIndex(images, name, index)
    await reclaim({ keeper, images, store }, name, digest)
    return undefined
  }

  return {
    list: () => [...memory.records.values()].filter(isHere).map(plain),
    find,
    revision,
    isProtected,
    origins: () => origins.list(),
    async built(list, index, ref) {
      const refused: { name: string; reason: string }[] = []
      const overtaken: string[] = []
      for (const image of list) {
        const { name, digest } = image
        const reason = await keeper.change(() => record(image, index), name)
        if (reason !== undefined) {
          refused.push({ name, reason })
          log.warn({ name }, `a build wrote a protected name: ${reason}`)
        } else if (find(name)?.digest !== digest) {
          overtaken.push(name)
          log.info({ name, digest, instead: current.get(name)?.digest }, 'a build was overtaken by another of its name')
        }
      }
      if (ref !== undefined) origins.note(list, ref)
      return { refused, overtaken }
    },
    async arriving(image) {
      const record = memory.records.get(image.name)
      // Asked for with every pull: what is known already costs nothing.
      if (record?.digest === image.digest && record.version >= image.version) return
      keeper.announce(image, 'delivered')
      await keeper.note(image.name)
    },
    async drop(list) {
      const dropped: string[] = []
      for (const { name, version, digest } of list) {
        await keeper.change(async () => {
          const record = memory.records.get(name)
          if (!record || record.version >= version) return
          if (record.digest === digest) {
            // The same image, built again: whoever asked believes that it is gone, until this node says what it has.
            memory.records.set(name, { ...record, version })
            return keeper.revise(true)
          }
          // First the name: a copy without a record would count as somebody else's, and nobody would take it away again.
          // What is done here is one thing for the keeper, so it does not put the name back in between.
          await images.delete(name)
          memory.records.delete(name)
          keeper.revise(true)
          dropped.push(name)
          log.info({ name, digest: record.digest, newer: digest }, 'an older copy of a built image lost its name')
        })
      }
      return dropped
    },
    retract: (request) => retractNames({ keeper, images, building, log }, request),
    async wanted(names) {
      const next = new Set(names)
      if (next.size === memory.wanted.size && names.every((name) => memory.wanted.has(name))) return
      await keeper.change(() => {
        memory.wanted = next
        keeper.revise(false)
      })
    },
  }
}
