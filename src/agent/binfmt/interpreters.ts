import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, readdir, realpath, rm, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { Architecture } from './architectures.ts'
import type { Interpreter } from './plan.ts'

/** The emulator for an architecture; undefined where there is none. */
export type Interpreters = (architecture: Architecture) => Promise<Interpreter | undefined>

/**
 * The emulators of a directory: `qemu-aarch64-static` and so on, as Debian names them. The kernel keeps a handler's file
 * open and tells nothing of it but the path that it was opened by; so each gets a path with its digest in it, below
 * `links`, and a handler of an older file is told apart, after any restart. A file is read only when it is asked for:
 * where the host has handlers of its own, none of them is.
 */
export async function findInterpreters(directory: string, links: string): Promise<Interpreters> {
  const names = await readdir(directory).catch((): string[] => [])
  await rm(links, { recursive: true, force: true })
  const linked = new Map<string, Promise<Interpreter>>()
  return async (architecture) => {
    if (!names.includes(fileName(architecture.qemu))) return undefined
    const found = linked.get(architecture.qemu) ?? link(architecture, directory, links)
    linked.set(architecture.qemu, found)
    return found
  }
}

async function link(architecture: Architecture, directory: string, links: string): Promise<Interpreter> {
  const file = await realpath(join(directory, fileName(architecture.qemu)))
  const folder = join(links, (await digestOf(file)).slice(0, 16))
  await mkdir(folder, { recursive: true })
  const path = join(folder, `qemu-${architecture.qemu}`)
  await symlink(file, path)
  return { architecture, path }
}

const fileName = (qemu: string): string => `qemu-${qemu}-static`

async function digestOf(file: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer)
  return hash.digest('hex')
}
