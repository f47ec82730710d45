import { existsSync } from 'node:fs'
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { InsituError } from '../../../src/kernel/errors.ts'
import { run } from '../../../src/kernel/process/run.ts'
import { cacheDir } from '../layout.ts'
import { makeFolder } from './oci.ts'

/** Debian's name of an architecture, by OCI platform. */
export const debianArchitectures: Readonly<Record<string, string>> = {
  'linux/amd64': 'amd64',
  'linux/arm64': 'arm64',
  'linux/arm/v7': 'armhf',
}

/**
 * Debian packages of any architecture, downloaded from the mirrors of this machine's apt and kept in the cache.
 * @returns paths of the .deb files, in the order of their names. Nothing of it touches the machine's own packages.
 */
export async function debianPackages(architecture: string, names: readonly string[]): Promise<string[]> {
  const directory = join(cacheDir, 'packages', `${architecture}-${names.join('-')}`)
  if (!existsSync(directory)) {
    await mkdir(join(directory, '..'), { recursive: true })
    await makeFolder(directory, (temporary) => download(temporary, architecture, names))
  }
  const files = (await readdir(directory)).filter((name) => name.endsWith('.deb')).sort()
  if (files.length === 0) throw new InsituError('LAB_APT', `no packages ${names.join(' ')} for ${architecture}`)
  return files.map((name) => join(directory, name))
}

/** The same with everything that they depend on, down to the C library. */
export async function debianClosure(architecture: string, names: readonly string[]): Promise<string[]> {
  const directory = join(cacheDir, 'packages', `${architecture}-closure-${names.join('-')}`)
  if (!existsSync(directory)) {
    await mkdir(join(directory, '..'), { recursive: true })
    await makeFolder(directory, async (temporary) => {
      const options = await updatedLists(temporary, architecture)
      const wanted = names.map((name) => `${name}:${architecture}`)
      const install = ['--download-only', '--no-install-recommends', '-y', 'install', ...wanted]
      await run('apt-get', ['-qq', ...options, ...install], { timeout: 300_000 })
      const archives = join(temporary, 'apt/cache/archives')
      for (const name of await readdir(archives)) {
        if (name.endsWith('.deb')) await rename(join(archives, name), join(temporary, name))
      }
      await rm(join(temporary, 'apt'), { recursive: true })
    })
  }
  return (await readdir(directory)).sort().map((name) => join(directory, name))
}

async function download(directory: string, architecture: string, names: readonly string[]): Promise<void> {
  const options = await updatedLists(directory, architecture)
  const wanted = names.map((name) => `${name}:${architecture}`)
  await run('apt-get', ['-qq', ...options, 'download', ...wanted], { cwd: directory, timeout: 180_000 })
  await rm(join(directory, 'apt'), { recursive: true })
}

/** Fetches the lists of an architecture below `directory/apt`. @returns options for apt-get that use them */
async function updatedLists(directory: string, architecture: string): Promise<string[]> {
  const state = join(directory, 'apt')
  for (const path of ['state/lists/partial', 'cache/archives/partial'])
    await mkdir(join(state, path), { recursive: true })
  // Nothing is installed. apt locks the directory of this file: with /dev/null, all of them at once would wait for /dev.
  const status = join(state, 'state/status')
  await writeFile(status, '')
  const options = Object.entries({
    'APT::Architecture': architecture,
    'APT::Architectures::': architecture,
    'APT::Sandbox::User': 'root',
    'Dir::State': join(state, 'state'),
    'Dir::State::status': status,
    'Dir::Cache': join(state, 'cache'),
  }).flatMap(([key, value]) => ['-o', `${key}=${value}`])
  // A list that the mirror is just changing is left out; a package that is missing then fails the download.
  await run('apt-get', ['-qq', ...options, 'update'], { timeout: 180_000, allow: [100] })
  return options
}
