import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { defaultAgentConfig } from '../api/agent-config.ts'
import { createLogger } from '../kernel/log.ts'
import { diskPart } from './disk/part.ts'
import type { Handler } from './front/handlers.ts'
import { createParts, type Part, type PartContext } from './part.ts'

let directory: string
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'insitu-parts-'))
})
afterAll(() => rm(directory, { recursive: true }))

/** The log's lines, and a context whose run directory can be made as soon as `room` is called. */
async function setUp() {
  const file = join(await mkdtemp(join(directory, 'host-')), 'file')
  await writeFile(file, '')
  const lines: string[] = []
  let changes = 0
  const log = createLogger({ level: 'warn', destination: { write: (line) => void lines.push(line) } })
  const context: PartContext = {
    ...{ node: 'n', env: {}, log, containerd: '/nowhere', namespace: 'k8s.io' },
    // Any disk is fuller: who looks at it wants to remove something, and says that containerd is away.
    config: { ...defaultAgentConfig, disk: { highPercent: 0.001, inodesHighPercent: 0.001 } },
    host: {
      distribution: {
        ...{ name: 'unknown', address: '/nowhere', certsDir: '/nowhere', state: '/nowhere' },
        root: '/nowhere',
      },
      ...{ containerd: undefined, containerdPid: undefined, snapshotter: undefined, findings: [] },
    },
    ...{ root: directory, tmpdir: '/nowhere', runDirectory: join(file, 'run'), socket: '/nowhere' },
    ...{ daemonPid: () => undefined, alone: () => true, changed: () => void (changes += 1) },
  }
  return { lines, log, context, changes: () => changes, room: () => rm(file) }
}

const stopped: string[] = []
const part = (name: string, start: () => void = () => {}): Part => ({
  name,
  async start() {
    start()
    const handler: Handler = { methods: ['GET'], path: `/${name}`, allow: [], handle: () => Promise.resolve() }
    return { handlers: [handler], configure: (toml) => `${toml}${name} `, stop: async () => void stopped.push(name) }
  },
})

it('a part that could not start is tried again, alone, and has its place among the others', async () => {
  const { log, context } = await setUp()
  let full = true
  let others = 0
  const first = part('first', () => {
    if (full) throw new Error('ENOSPC: no space left on device')
  })
  const parts = createParts([first, part('second', () => (others += 1))], log)
  await parts.start(context)
  expect(parts.findings()).toMatchObject([{ code: 'PART_FAILED', message: expect.stringContaining('ENOSPC') }])
  expect(parts.handlers().map(({ path }) => path)).toEqual(['/second'])
  full = false
  await parts.start(context)
  expect(parts.findings()).toEqual([])
  expect(parts.handlers().map(({ path }) => path)).toEqual(['/first', '/second'])
  expect(parts.configure('')).toBe('first second ')
  expect(others).toBe(1)
  await parts.stop()
  expect(stopped).toEqual(['second', 'first'])
})

it('nothing of a disk part runs that could not start, and the same failure is said once', async () => {
  const { lines, log, context, changes, room } = await setUp()
  const parts = createParts([diskPart({ built: () => new Set(), interval: 10 })], log)
  await parts.start(context)
  expect(parts.findings()).toMatchObject([{ code: 'PART_FAILED', message: expect.stringContaining('"disk"') }])
  await parts.start(context)
  await sleep(100)
  expect([lines.length, changes()]).toEqual([1, 1])
  await room()
  await parts.start(context)
  expect(parts.findings().map(({ code }) => code)).not.toContain('PART_FAILED')
  await expect.poll(() => lines.length).toBeGreaterThan(1)
  await parts.stop()
})

it('what is stopped starts nothing any more', async () => {
  const { log, context } = await setUp()
  let starts = 0
  const parts = createParts([part('a', () => (starts += 1))], log)
  await parts.stop()
  await parts.start(context)
  expect(starts).toBe(0)
})
