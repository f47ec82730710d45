import type { Stats } from 'node:fs'
import { chmod, chown, lstat, mkdir, readdir, rm, rmdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Finding } from '../../api/node-report.ts'
import { describeError } from '../../kernel/errors.ts'
import { writeFileAtomic } from '../../kernel/fs/atomic.ts'
import { readOptional } from '../../kernel/fs/read-optional.ts'
import { withoutLinks } from '../host/host-path.ts'
import { type BlockMemory, type MirrorHost, readBlock, withBlock, withoutBlock } from './hosts-block.ts'

export interface CertsOptions {
  /** containerd's registry directories on the node, in the order in which it looks into them. */
  readonly directories: readonly string[]
  /** Where the node's files can be seen. */
  readonly hostRoot: string
}

/**
 * Puts the mirror in front of every registry: into `_default`, and into the file of each registry that has one, which
 * would hide `_default`. Changes nothing that is as it should be; files are never edited but by adding our block.
 * @returns registries whose files could not be used, as findings.
 */
export async function putMirror(options: CertsOptions, host: MirrorHost): Promise<readonly Finding[]> {
  const roots = await rootsOf(options)
  const findings: Finding[] = []
  let hasDefault = false
  for (const { path, seen } of roots) {
    for (const { name, isLink } of await registriesIn(seen)) {
      const trouble = isLink ? linkTrouble : await put(join(seen, name), host, 0)
      if (trouble === undefined) hasDefault ||= name === '_default'
      else findings.push(hostFinding(`${path}/${name}/hosts.toml`, trouble))
      if (name === '_default' && trouble !== undefined) hasDefault = true
    }
  }
  // The last one: a `_default` in an earlier one would hide the registries of the later ones.
  const last = roots.at(-1)
  if (!hasDefault && last) {
    const made = await make(join(last.seen, '_default'))
    const trouble = await put(join(last.seen, '_default'), host, made)
    if (trouble !== undefined) findings.push(hostFinding(`${last.path}/_default/hosts.toml`, trouble))
  }
  return findings
}

/** What `putMirror` could not use, without writing anything. */
export async function checkHostFiles(options: CertsOptions): Promise<readonly Finding[]> {
  const findings: Finding[] = []
  for (const { path, seen } of await rootsOf(options)) {
    for (const { name, isLink } of await registriesIn(seen)) {
      const wanted = isLink
        ? linkTrouble
        : await plan(join(seen, name), { url: 'http://127.0.0.1:1', token: '' }, 0).catch(describeError)
      if (typeof wanted === 'string') findings.push(hostFinding(`${path}/${name}/hosts.toml`, wanted))
    }
  }
  return findings
}

/** Puts back all files of the directories as they were without us. @returns those that had a block of ours. */
export async function removeMirror(options: CertsOptions): Promise<readonly string[]> {
  const changed: string[] = []
  for (const { path, seen } of await rootsOf(options)) {
    for (const { name, isLink } of await registriesIn(seen)) {
      if (!isLink && (await restore(join(seen, name, 'hosts.toml')))) changed.push(`${path}/${name}/hosts.toml`)
    }
  }
  return changed
}

/** The directories as this process sees them, with the node's symbolic links followed. */
export const seenDirectories = async (options: CertsOptions): Promise<readonly string[]> =>
  (await rootsOf(options)).map(({ seen }) => seen)

async function rootsOf({ directories, hostRoot }: CertsOptions): Promise<{ path: string; seen: string }[]> {
  const onHost = (path: string): string => join(hostRoot, path)
  return Promise.all(directories.map(async (path) => ({ path, seen: onHost(await withoutLinks(path, onHost)) })))
}

/**
 * Through `/proc/PID/root` an absolute link leads to a file of ours, and what a link points to is often shared with
 * others or not to be written (NixOS, configuration management): links are left alone.
 */
const linkTrouble = 'it is a symbolic link, and these are left as they are'

async function registriesIn(directory: string): Promise<{ readonly name: string; readonly isLink: boolean }[]> {
  const entries = await readdir(directory, { withFileTypes: true }).catch(() => [])
  return entries
    .filter((entry) => entry.isDirectory() || entry.isSymbolicLink())
    .map((entry) => ({ name: entry.name, isLink: entry.isSymbolicLink() }))
}

/** The file itself, not what it links to; undefined: there is none. */
const lookAt = (file: string): Promise<Stats | undefined> =>
  lstat(file).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })

/** @returns how many directories did not exist before. */
async function make(directory: string): Promise<number> {
  const first = await mkdir(directory, { recursive: true, mode: 0o755 })
  if (first === undefined) return 0
  return directory.slice(dirname(first).length).split('/').length - 1
}

/** @returns why the mirror cannot be put in front in this directory of a registry, or undefined. */
async function put(directory: string, host: MirrorHost, made: number): Promise<string | undefined> {
  try {
    const planned = await plan(directory, host, made)
    if (typeof planned === 'string') return planned
    if (planned.wanted !== planned.text) await writeFileAtomic(planned.file, planned.wanted, 0o600)
    return undefined
  } catch (error) {
    return describeError(error)
  }
}

interface PlannedFile {
  readonly file: string
  /** As it is; undefined: there is none. */
  readonly text: string | undefined
  readonly wanted: string
}

/** @returns the file with our block, or why it cannot have one. @throws when it cannot be read. */
async function plan(directory: string, host: MirrorHost, made: number): Promise<PlannedFile | string> {
  const file = join(directory, 'hosts.toml')
  const stats = await lookAt(file)
  if (stats?.isSymbolicLink()) return linkTrouble
  const text = stats && (await readOptional(file))
  if (text === undefined && (await readdir(directory)).some((name) => /\.(crt|cert|key)$/.test(name))) {
    return 'it has certificates in docker’s layout, which a hosts.toml would switch off'
  }
  const { mode = 0o644, uid = 0, gid = 0 } = stats ?? {}
  const memory: BlockMemory = readBlock(text ?? '') ?? {
    ...{ mode: mode & 0o7777, owner: { uid, gid }, fresh: text === undefined, directories: made },
  }
  const wanted = withBlock(text ?? '', host, memory)
  return wanted === undefined ? 'no host can be added to it without changing what it says' : { file, text, wanted }
}

async function restore(file: string): Promise<boolean> {
  const isFile = (await lookAt(file).catch(() => undefined))?.isFile() === true
  const text = isFile ? await readOptional(file).catch(() => undefined) : undefined
  const memory = text === undefined ? undefined : readBlock(text)
  if (text === undefined || !memory) return false
  const original = withoutBlock(text)
  if (!memory.fresh || original !== '') {
    await writeFileAtomic(file, original, memory.mode)
    await chown(file, memory.owner.uid, memory.owner.gid)
    await chmod(file, memory.mode)
    return true
  }
  await rm(file, { force: true })
  let directory = dirname(file)
  for (let left = memory.directories; left > 0; left -= 1, directory = dirname(directory)) {
    if (
      !(await rmdir(directory).then(
        () => true,
        () => false,
      ))
    )
      break
  }
  return true
}

const hostFinding = (file: string, why: string): Finding => ({
  code: 'MIRROR_HOST_FILE',
  severity: 'warning',
  message: `pulls from the registry of ${file} do not ask the mirror: ${why}`,
  fix: 'rewrite the file as containerd’s hosts.toml with [host] tables, and not as a link; built images with that registry’s name are delivered to their nodes anyway',
})
