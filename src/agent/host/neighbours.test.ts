import { mkdir, mkdtemp, open, rm, symlink, writeFile } from 'node:fs/promises'
import { constants } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { run } from '../../kernel/process/run.ts'
import { findNeighbours } from './neighbours.ts'

let directory: string
let proc: string
let root: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'insitu-neighbours-'))
  proc = join(directory, 'proc')
  root = join(directory, 'buildkit')
  await mkdir(proc)
  await mkdir(root)
})
afterEach(() => rm(directory, { recursive: true, force: true }))

/** A process named buildkitd whose files are below what is returned, as in a pod; `own`: it sees what we see. */
async function buildkitd(pid: number, args: readonly string[], own = false): Promise<string> {
  const at = join(proc, String(pid))
  await mkdir(at)
  await writeFile(join(at, 'comm'), 'buildkitd\n')
  await writeFile(join(at, 'cmdline'), ['buildkitd', ...args, ''].join('\0'))
  if (own) await symlink('/', join(at, 'root'))
  else await mkdir(join(at, 'root/etc/buildkit'), { recursive: true })
  return join(at, 'root')
}
const find = () => findNeighbours({ address: '/nowhere.sock', namespace: 'k8s.io', root, own: new Set() }, proc)

test('a buildkitd on our root is found, by its flag and by its file', async () => {
  await buildkitd(8, ['--root', root], true)
  const config = join(directory, 'buildkitd.toml')
  await writeFile(config, `root = "${root}"\n`)
  await buildkitd(9, [`--config=${config}`], true)
  expect(await find()).toEqual([
    { pid: 8, shares: 'root' },
    { pid: 9, shares: 'root' },
  ])
})

test('links are followed as the other process would: those of a pod do not lead to our root', async () => {
  const pod = await buildkitd(8, ['--root=/data'])
  await symlink(root, join(pod, 'data'))
  const config = join(directory, 'ours.toml')
  await writeFile(config, `root = "${root}"\n`)
  const other = await buildkitd(9, [])
  await symlink(config, join(other, 'etc/buildkit/buildkitd.toml'))
  expect(await find()).toEqual([])
})

test('a file that never ends, or of which nothing comes, holds nobody up', async () => {
  const pod = await buildkitd(7, ['--config', '/fifo'])
  const fifo = join(pod, 'fifo')
  await run('mkfifo', [fifo])
  const big = await buildkitd(8, [])
  const file = await open(join(big, 'etc/buildkit/buildkitd.toml'), 'w')
  await file.truncate(2 ** 32)
  await file.close()
  await buildkitd(9, ['--config=/dev/zero'], true)
  await buildkitd(10, [`--root=${'/a'.repeat(500_000)}`, `--config=${'/../b'.repeat(200_000)}`], true)
  try {
    expect(await Promise.race([find(), sleep(1000, 'still waiting')])).toEqual([])
  } finally {
    // Who still waits for a writer would wait for ever.
    await open(fifo, constants.O_RDWR).then((handle) => handle.close())
  }
})
