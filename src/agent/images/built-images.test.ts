import { expect, it } from 'vitest'
import { InsituError } from '../../kernel/errors.ts'
import { fieldOf, string } from '../../kernel/grpc/wire.ts'
import { createLogger } from '../../kernel/log.ts'
import { builtImages } from './built-images.ts'
import type { ContainerdImages } from './containerd-images.ts'
import { createKeeper } from './keeper.ts'
import { createOrigins } from './origins.ts'
import type { NodeImage } from './record.ts'

const log = createLogger({ level: 'silent' })
const name = 'docker.io/team/app:1'
const image = (digest: string): NodeImage => ({ name, digest, target: fieldOf(2, digest), labels: {} })

/** Names in memory instead of a containerd; `away`: it answers nothing now. */
function open() {
  const names = new Map<string, NodeImage>()
  const lost = new Set<string>()
  const pulls: string[] = []
  let away = false
  let now = 0
  const images: ContainerdImages = {
    list: () => Promise.resolve([...names.values()]),
    get: (of) => Promise.resolve(names.get(of)),
    create: (of, target) => Promise.resolve(void names.set(of, { ...image(string(target, 2)), name: of, target })),
    setTarget: () => Promise.resolve(),
    setLabels: () => Promise.resolve(),
    delete(of) {
      if (away) return Promise.reject(new InsituError('GRPC_CALL_FAILED', 'away', { status: 'UNAVAILABLE' }))
      names.delete(of)
      return Promise.resolve()
    },
    contentLabels: (digest) => Promise.resolve(lost.has(digest) ? undefined : {}),
    hasSnapshot: () => Promise.resolve(true),
    blobs: () => Promise.resolve(new Set()),
    snapshots: () => Promise.resolve(new Set()),
    write: () => Promise.resolve(),
    inContainers: () => Promise.resolve(new Set()),
    subscribe: () => Promise.resolve(),
    close: () => {},
  }
  const building = (): Promise<Set<string>> => Promise.resolve(new Set<string>())
  const keeper = createKeeper({
    ...{ images, log, building, config: { keep: 1, keepFor: 0 } },
    pull({ digest }) {
      pulls.push(digest)
      lost.delete(digest)
      return Promise.resolve()
    },
    holds: { keep: () => Promise.resolve(), arriving: () => Promise.resolve(), release: () => Promise.resolve() },
    memory: { records: new Map(), known: new Map(), wanted: new Set() },
    save: () => Promise.resolve(),
    now: () => now,
    onRevision: () => {},
    onPutBack: () => {},
  })
  const origins = createOrigins({ keeper, log, read: () => Promise.reject(new Error('not asked')) })
  const store = { read: () => Promise.reject(new Error('not asked')) }
  const built = builtImages({ ...{ keeper, images, store, origins, log, building }, revision: () => 0 })
  return {
    names,
    lost,
    pulls,
    keeper,
    built,
    setAway: (is: boolean) => void (away = is),
    later: () => void (now += 86_400_000),
  }
}

it('an older copy whose name containerd does not delete now stays a built image, until it is dropped again', async () => {
  const { names, keeper, built, setAway, later } = open()
  names.set(name, image('sha256:old'))
  await built.built([{ name, digest: 'sha256:old', version: 1 }])
  // Nobody speaks of that build any more.
  later()
  const newer = { name, digest: 'sha256:new', version: 2 }
  setAway(true)
  await expect(built.drop([newer])).rejects.toThrow('away')
  await keeper.reconcile()
  expect(built.find(name)).toEqual({ name, digest: 'sha256:old', version: 1 })
  expect(built.isProtected(name)).toBe(false)
  setAway(false)
  expect(await built.drop([newer])).toEqual([name])
  expect(built.find(name)).toBeUndefined()
  await keeper.stop()
})

it('a copy of the same image, built again, stays and is of that build, so that the next build takes it away', async () => {
  const { names, keeper, built } = open()
  names.set(name, image('sha256:same'))
  await built.built([{ name, digest: 'sha256:same', version: 1 }])
  expect(await built.drop([{ name, digest: 'sha256:same', version: 2 }])).toEqual([])
  expect(built.find(name)).toEqual({ name, digest: 'sha256:same', version: 2 })
  expect(await built.drop([{ name, digest: 'sha256:other', version: 3 }])).toEqual([name])
  await keeper.stop()
})

it('a wanted image that is gone with its content comes back by its digest, and gets its name again', async () => {
  const { names, lost, pulls, keeper, built } = open()
  names.set(name, image('sha256:own'))
  await built.built([{ name, digest: 'sha256:own', version: 1 }])
  await built.wanted([name])
  names.delete(name)
  lost.add('sha256:own')
  await keeper.note(name)
  await expect.poll(() => built.find(name)).toEqual({ name, digest: 'sha256:own', version: 1 })
  expect(pulls).toEqual(['sha256:own'])
  expect(names.get(name)?.digest).toBe('sha256:own')
  await keeper.stop()
})
