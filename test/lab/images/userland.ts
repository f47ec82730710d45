import { existsSync } from 'node:fs'
import { appendFile, cp, mkdir, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { run } from '../../../src/kernel/process/run.ts'
import { cacheDir } from '../layout.ts'
import { debianClosure } from './packages.ts'

/** What a Debian consists of in which apt and dpkg can install packages. */
const base = [
  ...['apt', 'base-files', 'base-passwd', 'bash', 'bsdutils', 'coreutils', 'dash', 'debconf', 'debianutils'],
  ...['diffutils', 'dpkg', 'findutils', 'grep', 'gzip', 'hostname', 'init-system-helpers', 'libc-bin', 'login'],
  ...['ncurses-base', 'ncurses-bin', 'passwd', 'perl-base', 'sed', 'sysvinit-utils', 'tar', 'util-linux'],
]

/**
 * The userland of a Debian of another architecture as a tar, made without running a single program of it: packages
 * are unpacked and entered into dpkg's database as installed. (debootstrap's second stage does it with the programs
 * themselves, which takes minutes under emulation.) Kept in the cache.
 */
export async function debianUserland(architecture: string): Promise<string> {
  const tar = join(cacheDir, 'packages', `userland-${architecture}-1.tar`)
  if (existsSync(tar)) return tar
  const packages = await debianClosure(architecture, base)
  const root = `${tar}.root`
  await rm(root, { recursive: true, force: true })
  const dpkg = join(root, 'var/lib/dpkg')
  for (const path of [
    'usr/bin',
    'usr/sbin',
    'usr/lib',
    'var/lib/dpkg/info',
    'var/lib/dpkg/updates',
    'var/lib/dpkg/triggers',
  ]) {
    await mkdir(join(root, path), { recursive: true })
  }
  // A merged /usr, as every Debian has it now.
  for (const name of ['bin', 'sbin', 'lib']) await symlink(`usr/${name}`, join(root, name))
  for (const file of packages) await unpack(file, root, dpkg)
  await writeFile(join(dpkg, 'available'), '')
  // What the maintainer scripts of the base would have left.
  for (const name of ['passwd', 'group'])
    await cp(join(root, `usr/share/base-passwd/${name}.master`), join(root, 'etc', name))
  await symlink('dash', join(root, 'usr/bin/sh')).catch(() => undefined)
  await writeFile(join(root, 'etc/apt/sources.list'), '')
  await mkdir(join(root, 'var/lib/apt/lists/partial'), { recursive: true })
  await run('tar', ['--numeric-owner', '-C', root, '-cf', `${tar}.new`, '.'])
  await rename(`${tar}.new`, tar)
  await rm(root, { recursive: true })
  return tar
}

async function unpack(file: string, root: string, dpkg: string): Promise<void> {
  // Directories of /lib and /bin go through the links of the merged /usr.
  const { stdout: listing } = await run('sh', [
    '-c',
    'dpkg-deb --fsys-tarfile "$1" | tar -xvf - -C "$2" --keep-directory-symlink',
    'sh',
    file,
    root,
  ])
  const { stdout: fields } = await run('dpkg-deb', ['-f', file])
  const field = (name: string): string | undefined => new RegExp(`^${name}: (.*)$`, 'm').exec(fields)?.[1]
  const own = `${field('Package')}${field('Multi-Arch') === 'same' ? `:${field('Architecture')}` : ''}`
  const paths = listing.split('\n').map((path) => path.replace(/^\./, '').replace(/\/$/, '') || '/.')
  await writeFile(join(dpkg, 'info', `${own}.list`), `${paths.join('\n')}\n`)
  const control = join(dpkg, 'control')
  await run('dpkg-deb', ['-e', file, control])
  for (const script of await readdir(control)) {
    if (script !== 'control') await rename(join(control, script), join(dpkg, 'info', `${own}.${script}`))
  }
  await rm(control, { recursive: true })
  await appendFile(join(dpkg, 'status'), `${fields.replace('\n', '\nStatus: install ok installed\n')}\n\n`)
}
