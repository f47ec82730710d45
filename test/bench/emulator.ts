import { existsSync } from 'node:fs'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const directory = '/proc/sys/fs/binfmt_misc'
const name = 'insitu-bench-aarch64'
// ELF, 64 bit, little-endian, an executable (static or not) for machine 183.
const magic = '\\x7fELF\\x02\\x01\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02\\x00\\xb7\\x00'
const mask = '\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xfe\\xff\\xff\\xff'

/** Lets this machine run programs for arm64, with a handler of our own where there is none, until it is disposed of. */
export async function withEmulator(): Promise<AsyncDisposable> {
  if (!existsSync(`${directory}/register`)) {
    await promisify(execFile)('mount', ['-t', 'binfmt_misc', 'binfmt_misc', directory])
  }
  for (const entry of await readdir(directory)) {
    const text = entry === 'register' || entry === 'status' ? '' : await readFile(`${directory}/${entry}`, 'utf8')
    if (text.startsWith('enabled') && /^interpreter .*aarch64/m.test(text))
      return { [Symbol.asyncDispose]: async () => {} }
  }
  await writeFile(`${directory}/register`, `:${name}:M::${magic}:${mask}:/usr/bin/qemu-aarch64-static:F`)
  return { [Symbol.asyncDispose]: () => writeFile(`${directory}/${name}`, '-1') }
}
