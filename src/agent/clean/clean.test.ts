import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { type CleanOptions, cleanNode } from './clean.ts'

let directory: string
let hostRoot: string
/** As /proc/PID of a node's process, with files of a cache and nothing mounted. */
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'insitu-clean-'))
  hostRoot = join(directory, 'root')
  await mkdir(join(hostRoot, 'var/lib/buildkit'), { recursive: true })
  await mkdir(join(hostRoot, 'run/containerd'), { recursive: true })
  await writeFile(join(hostRoot, 'var/lib/buildkit/cache.db'), '')
  await writeFile(join(directory, 'mountinfo'), '')
})
afterEach(() => rm(directory, { recursive: true }))

const root = '/var/lib/buildkit'
const clean = (more: Partial<CleanOptions> = {}) =>
  cleanNode({ root, namespace: 'insitu-clean-test', keepCache: false, hostRoot, ...more })
const cache = (): boolean => existsSync(join(hostRoot, root, 'cache.db'))

it('deletes no cache whose hold on containerd’s data it cannot end', async () => {
  await expect(clean()).rejects.toMatchObject({
    code: 'CLEAN',
    message: expect.stringContaining('/run/containerd/containerd.sock') as string,
    fix: expect.stringContaining('--keep-cache') as string,
  })
  expect(cache()).toBe(true)
  expect(await clean({ keepCache: true })).toMatchObject({ leases: 0, removed: [] })
  // Nothing to lose: an agent never got to its first daemon here.
  await rm(join(hostRoot, root, 'cache.db'))
  expect(await clean()).toMatchObject({ removed: expect.arrayContaining([root]) as string[] })
})

it.each([
  ['named', '/var/run/containerd/containerd.sock', '/run/containerd/containerd.sock'],
  ['of its distribution', undefined, '/run/k3s/containerd/containerd.sock'],
])('follows absolute links as the node does, to a socket that is %s', async (_, containerdAddress, socket) => {
  // Seen from here, the links lead into our own files.
  await symlink('/run', join(hostRoot, 'var/run'))
  await symlink('/data/rancher', join(hostRoot, 'var/lib/rancher'))
  await mkdir(join(hostRoot, 'data/rancher/k3s'), { recursive: true })
  await mkdir(dirname(join(hostRoot, socket)), { recursive: true })
  let asked = 0
  const server = createServer((connection) => {
    asked++
    connection.destroy()
  })
  await new Promise<void>((resolve) => server.listen(join(hostRoot, socket), resolve))
  try {
    await expect(clean({ containerdAddress })).rejects.toMatchObject({ code: 'GRPC_CALL_FAILED' })
    expect(asked).toBeGreaterThan(0)
    expect(cache()).toBe(true)
  } finally {
    server.close()
  }
})
