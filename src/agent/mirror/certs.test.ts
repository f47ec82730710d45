import { lstat, mkdir, mkdtemp, readdir, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { checkHostFiles, putMirror, removeMirror } from './certs.ts'

const directories = ['/etc/containerd/certs.d']
const host = { url: 'http://127.0.0.1:2378', token: 'secret' }
const text = 'server = "https://registry.test"\n'

let hostRoot: string
let certs: string
beforeEach(async () => {
  hostRoot = await mkdtemp(join(tmpdir(), 'insitu-certs-'))
  certs = join(hostRoot, 'etc/containerd/certs.d')
  await mkdir(join(certs, 'registry.test'), { recursive: true })
  // Where a link of the node points to: an absolute one leads elsewhere in our own root.
  await mkdir(join(hostRoot, 'store'))
  await writeFile(join(hostRoot, 'store/hosts.toml'), text)
})
afterEach(() => rm(hostRoot, { recursive: true }))

const files = (): Promise<string[]> => readdir(certs, { recursive: true })

it.each([
  ['absolute', '/store/hosts.toml'],
  ['relative', '../../../../store/hosts.toml'],
])('a hosts.toml that is an %s link is left as it is, and reported', async (_, target) => {
  await symlink(target, join(certs, 'registry.test/hosts.toml'))
  const before = await files()
  const found = [await putMirror({ directories, hostRoot }, host), await checkHostFiles({ directories, hostRoot })]
  for (const findings of found) {
    expect(findings).toMatchObject([{ code: 'MIRROR_HOST_FILE' }])
    expect(findings[0]?.message).toContain('/etc/containerd/certs.d/registry.test/hosts.toml')
  }
  // The registries that have no file of their own ask the mirror all the same.
  expect(await files()).toContain('_default/hosts.toml')
  await removeMirror({ directories, hostRoot })
  expect(await files()).toEqual(before)
  expect(await readlink(join(certs, 'registry.test/hosts.toml'))).toBe(target)
  expect(await readFile(join(hostRoot, 'store/hosts.toml'), 'utf8')).toBe(text)
})

it.each(['linked.test', '_default'])('a directory %s that is a link is left as it is, and reported', async (name) => {
  await symlink('/store', join(certs, name))
  const findings = await putMirror({ directories, hostRoot }, host)
  expect(findings).toMatchObject([{ code: 'MIRROR_HOST_FILE' }])
  expect(findings[0]?.message).toContain(`/etc/containerd/certs.d/${name}/hosts.toml`)
  await removeMirror({ directories, hostRoot })
  expect((await lstat(join(certs, name))).isSymbolicLink()).toBe(true)
  expect(await readFile(join(hostRoot, 'store/hosts.toml'), 'utf8')).toBe(text)
})
