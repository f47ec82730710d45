import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { run } from '../../kernel/process/run.ts'
import { kubeletSettings } from './kubelet.ts'

let proc: string

beforeEach(async () => {
  proc = await mkdtemp(join(tmpdir(), 'insitu-proc-'))
  await processAt(1, ['/sbin/init'])
})
afterEach(() => rm(proc, { recursive: true, force: true }))

/** A process with these namespaces; those of the node have the number 1. @returns its root. */
async function processAt(pid: number, args: readonly string[], { pidNs = 1, mntNs = 1 } = {}): Promise<string> {
  const at = join(proc, String(pid))
  await mkdir(join(at, 'ns'), { recursive: true })
  await mkdir(join(at, 'root/etc'), { recursive: true })
  await symlink(`pid:[${pidNs}]`, join(at, 'ns/pid'))
  await symlink(`mnt:[${mntNs}]`, join(at, 'ns/mnt'))
  await writeFile(join(at, 'cmdline'), [...args, ''].join('\0'))
  return join(at, 'root')
}

test('a process of a pod is no kubelet, whatever it is called', async () => {
  await processAt(12345, ['/kubelet', '--eviction-hard=imagefs.available<99%'], { pidNs: 2, mntNs: 2 })
  expect(await kubeletSettings(proc)).toBeUndefined()
  await processAt(700, ['/usr/bin/kubelet', '--v=2'])
  expect((await kubeletSettings(proc))?.args).toContain('--v=2')
})

test('one in a container of the node is, unless there is one that sees the files of the node', async () => {
  await processAt(500, ['kubelet', '--v=5'], { mntNs: 5 })
  expect((await kubeletSettings(proc))?.args).toContain('--v=5')
  await processAt(700, ['kubelet', '--v=7'])
  expect((await kubeletSettings(proc))?.args).toContain('--v=7')
})

test('its files are read as it sees them, and what is no file of a likely size is empty', async () => {
  const root = await processAt(700, ['kubelet', '--config=/etc/link', '--config-dir=/etc/drop-ins'])
  await writeFile(join(root, 'etc/real'), 'maxPods: 1')
  await symlink('/etc/real', join(root, 'etc/link'))
  await mkdir(join(root, 'etc/folder'))
  await symlink('/etc/folder', join(root, 'etc/drop-ins'))
  await run('mkfifo', [join(root, 'etc/folder/10-fifo.conf')])
  await writeFile(join(root, 'etc/folder/20-big.conf'), `maxPods: 2\n${'#'.repeat(2 << 20)}`)
  await writeFile(join(root, 'etc/folder/30-last.conf'), 'maxPods: 3')
  const found = await Promise.race([kubeletSettings(proc), sleep(1000)])
  expect(found?.files).toEqual([{ maxPods: 1 }, {}, {}, { maxPods: 3 }])
})

test('drop-ins are read in their folders too, where these stand in the order of names', async () => {
  const root = await processAt(700, ['kubelet', '--config-dir=/etc/drop-ins'])
  await mkdir(join(root, 'etc/drop-ins/20-folder.conf/deeper'), { recursive: true })
  await mkdir(join(root, 'etc/elsewhere'))
  await symlink('/etc/elsewhere', join(root, 'etc/drop-ins/40-link'))
  for (const [name, pods] of Object.entries({
    'drop-ins/10-first.conf': 1,
    'drop-ins/20-folder.conf/deeper/01.conf': 2,
    'drop-ins/20-folder.conf/other.conf': 3,
    'drop-ins/20-folder.conf/README': 4,
    'drop-ins/30-last.conf': 5,
    'elsewhere/not-followed.conf': 6,
  })) {
    await writeFile(join(root, 'etc', name), `maxPods: ${pods}`)
  }
  const found = await kubeletSettings(proc)
  // The first is that of its configuration file, which it has not.
  expect(found?.files).toEqual([{}, ...[1, 2, 3, 5].map((maxPods) => ({ maxPods }))])
})
