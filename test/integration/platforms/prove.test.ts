import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { run } from '../../../src/kernel/process/run.ts'

const source = (path: string): string => JSON.stringify(join(import.meta.dirname, '../../../src/agent/binfmt', path))
/** Proves what this machine runs by itself, so that only the place can be wrong, and prints what is mounted after it. */
const program = `
import { readFile } from 'node:fs/promises'
import { architectures, nativeArchitecture } from ${source('architectures.ts')}
import { prove } from ${source('prove.ts')}
const own = architectures.find(({ oci }) => oci === nativeArchitecture(process.arch))
const proof = await prove(own, process.env.PATH)
const mounts = (await readFile('/proc/self/mountinfo', 'utf8')).includes('insitu-emulator-')
console.log(JSON.stringify({ proof, mounts }))
`

it.each([
  ['where programs may be run', 'exec'],
  ['where none may, as hardened machines have it', 'noexec'],
])('a program is proved in a temporary directory %s, and nothing stays', async (_, option) => {
  const directory = await mkdtemp(join(tmpdir(), 'insitu-prove-'))
  onTestFinished(() => rm(directory, { recursive: true }))
  const script = 'mount -t tmpfs -o "$1" insitu-test "$2" && TMPDIR="$2" exec "$3" --input-type=module -e "$4"'
  const args = ['--mount', 'sh', '-c', script, 'sh', option, directory, process.execPath, program]
  const { stdout } = await run('unshare', args)
  expect(JSON.parse(stdout)).toEqual({ proof: 'runs', mounts: false })
  expect(await readdir(directory)).toEqual([])
})
