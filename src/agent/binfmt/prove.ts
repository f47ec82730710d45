import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findProgram } from '../../kernel/process/find-program.ts'
import { run } from '../../kernel/process/run.ts'
import type { Architecture } from './architectures.ts'
import { smallestProgram } from './elf.ts'

/** `runs`: and knows the name it was called by. `renamed`: it is told its path instead. Else the reason. */
export type Proof = 'runs' | 'renamed' | { readonly reason: string }

/**
 * Runs the smallest program of an architecture in a root directory of its own, as a RUN step does: an interpreter that
 * has to be found by its path is not there.
 * @param path PATH of this process, for chroot(8)
 */
export async function prove(architecture: Architecture, path: string): Promise<Proof> {
  const chroot = await findProgram('chroot', `${path}:/usr/sbin:/sbin`)
  if (chroot === undefined) return { reason: 'there is no program chroot to try it with' }
  const root = await mkdtemp(join(tmpdir(), 'insitu-emulator-'))
  // Hardened machines let no program run from /tmp, and that would look like a broken emulator.
  const mounted = await run('mount', ['-t', 'tmpfs', '-o', 'size=1m,mode=755', 'insitu-emulator', root]).then(
    () => true,
    () => false,
  )
  try {
    await writeFile(join(root, 'proof'), smallestProgram(architecture), { mode: 0o755 })
    // Found by its name alone, so that name and path differ: its exit code is the first letter of what it was called.
    const env = { PATH: '/' }
    const codes: Readonly<Record<string, number>> = { name: 'p'.charCodeAt(0), path: '/'.charCodeAt(0) }
    const { exitCode } = await run(chroot, [root, 'proof'], { env, timeout: 60_000, allow: Object.values(codes) })
    if (exitCode === codes['name']) return 'runs'
    return exitCode === codes['path'] ? 'renamed' : { reason: `it ended with exit code ${exitCode}` }
  } catch (error) {
    return { reason: error instanceof Error ? error.message : String(error) }
  } finally {
    if (mounted) await run('umount', ['--lazy', root])
    await rm(root, { recursive: true, force: true })
  }
}
