import { join } from 'node:path'
import type { BuiltImage } from '../../api/images.ts'
import type { Finding } from '../../api/node-report.ts'
import { repositoryOf } from '../../buildkit/reference.ts'
import { describeError } from '../../kernel/errors.ts'
import type { Part, PartContext, RunningPart } from '../part.ts'
import { nodePuller } from '../delivery/puller.ts'
import { walk } from '../mirror/built-content.ts'
import { type ContentStore, contentStore } from '../mirror/content.ts'
import type { MirrorAccess } from '../mirror/part.ts'
import { namesBeingBuilt } from './active-builds.ts'
import { type BuiltImages, builtImages } from './built-images.ts'
import { containerdImages } from './containerd-images.ts'
import { isOfEndedPart } from './ended-parts.ts'
import { imageHandlers } from './handlers.ts'
import { createHolds } from './holds.ts'
import { createKeeper } from './keeper.ts'
import { createLosses } from './losses.ts'
import { memoryFile, readMemory, writeMemory } from './memory-file.ts'
import { createSurveys, missingOf } from './missing.ts'
import { followOrdinary } from './ordinary-digests.ts'
import { createOrigins } from './origins.ts'
import { readProvenance } from './provenance.ts'
import { createPutBacks } from './put-backs.ts'
import { createRevision } from './revision.ts'
import { watchImages } from './watch.ts'

/** The agent's knowledge of images: records, pins, protected names. */
export interface Images {
  readonly part: Part
  /** For the parts that start after it. Until it runs, this node has built nothing. */
  readonly built: BuiltImages
}

/** @param mirror of this node, while it runs: what is lost comes from other nodes through it. */
export function createImages(mirror: () => MirrorAccess | undefined = () => undefined): Images {
  let running: BuiltImages | undefined
  return {
    built: {
      find: (name) => running?.find(name),
      list: () => running?.list() ?? [],
      revision: () => running?.revision() ?? 0,
      built: async (images, index, ref) => (await running?.built(images, index, ref)) ?? { refused: [] },
      origins: async () => running?.origins() ?? [],
      arriving: async (image) => running?.arriving(image),
      arrivingContent: async (digest) => running?.arrivingContent?.(digest),
      drop: async (images) => running?.drop(images) ?? [],
      retract: async (request) => running?.retract(request) ?? [],
      wanted: async (names) => running?.wanted(names),
      isProtected: (name) => running?.isProtected(name) ?? false,
    },
    part: {
      name: 'images',
      async start(context) {
        const { built, part } = await start(context, mirror)
        running = built
        return {
          ...part,
          async stop() {
            running = undefined
            await part.stop()
          },
        }
      },
    },
  }
}

async function start(
  context: PartContext,
  mirror: () => MirrorAccess | undefined,
): Promise<{ built: BuiltImages; part: RunningPart }> {
  const { log, namespace, node } = context
  const file = join(context.root, memoryFile)
  const { memory, findings } = await readMemory(file, new Date())
  for (const { code, message } of findings) log.error({ code }, message)
  const images = containerdImages(context.containerd, namespace)
  const store = contentStore(context.host.distribution.root)
  // Other nodes have their copies from here, and what was unpacked cannot be given on.
  const discards = context.host.containerd?.discardsLayers === true
  const holds = createHolds(context.containerd, namespace, discards ? keptParts(store) : undefined)
  const putBacks = createPutBacks({
    changed: () => context.changed(),
    isOfPart: (image) => isOfEndedPart(context.socket, image),
    log,
  })
  const revision = createRevision(() => context.changed())
  const building = (): Promise<Set<string>> => namesBeingBuilt(context.socket)
  const snapshotter = context.host.snapshotter ?? ''
  const ended = new AbortController()
  const puller = nodePuller({ socket: context.containerd, namespace, snapshotter, mirror })
  // By its digest: nobody has asked for another image of that name, which a registry may have.
  const pull = ({ name, digest }: Pick<BuiltImage, 'name' | 'digest'>): Promise<void> =>
    puller(`${repositoryOf(name)}@${digest}`, ended.signal)
  const keeper = createKeeper({
    ...{ images, holds, memory, log, pull, config: context.config.images },
    save: (changed) => writeMemory(file, changed),
    building,
    onRevision: (arrival) => revision.change(arrival),
    onPutBack: (event) => void putBacks.add(event),
  })
  const losses = createLosses({
    log,
    records: () => [...keeper.memory.records.values()].filter((r) => keeper.current.get(r.name)?.digest === r.digest),
    missing: (digest) =>
      missingOf(digest, {
        store,
        hasBlob: async (blob) => (await images.contentLabels(blob)) !== undefined,
        hasSnapshot: (key) => images.hasSnapshot(snapshotter, key),
      }),
    survey: createSurveys({ store, blobs: () => images.blobs(), snapshots: () => images.snapshots(snapshotter) }),
    async pull(record) {
      keeper.announce(record, record.arrival)
      await pull(record)
    },
  })
  const ordinary =
    context.config.mirror.serve === 'all' ? followOrdinary({ keeper, onChange: () => revision.change() }) : undefined
  const unwatch = watchImages({ images, keeper, losses, log })
  const origins = createOrigins({ keeper, log, read: (ref) => readProvenance(context.socket, ref) })
  const own = builtImages({ keeper, images, store, origins, log, revision: () => revision.current, building })
  const arrivingContent = discards ? { arrivingContent: (digest: string) => holds.arriving(digest) } : {}
  const built = { ...own, ...arrivingContent, ordinary: ordinary?.list }
  return {
    built,
    part: {
      handlers: imageHandlers(node, built),
      findings: (): readonly Finding[] => [...findings, ...putBacks.findings()],
      report: () => ({ imagesRevision: revision.reported }),
      metrics: () => putBacks.metrics(built.list().length),
      async stop() {
        ended.abort(new Error('the agent stops'))
        revision.stop()
        ordinary?.stop()
        await unwatch()
        await keeper.stop()
        // What was under way may have connected again.
        images.close()
        await holds.release().catch((error: unknown) => log.warn({ err: describeError(error) }, 'a lease stays'))
        putBacks.stop()
      },
    },
  }
}

/** What images refer to, read once of each. */
function keptParts(store: ContentStore): (digest: string) => Promise<readonly string[]> {
  const known = new Map<string, readonly string[]>()
  return async (digest) => {
    const before = known.get(digest)
    if (before) return before
    const { members } = await walk(digest, store)
    const parts = [...members.keys()]
    if (parts.length > 0) known.set(digest, parts)
    return parts
  }
}
