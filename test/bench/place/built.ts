import { cp, mkdtemp, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { run } from '../../../src/kernel/process/run.ts'

const root = join(import.meta.dirname, '../../..')

/** The program as an image has it: compiled, without its sources. */
export async function buildProgram(): Promise<{ readonly insitu: string; close(): Promise<void> }> {
  const directory = await mkdtemp(join(tmpdir(), 'insitu-built-'))
  await run('tsc', ['-p', join(root, 'tsconfig.build.json'), '--outDir', join(directory, 'dist')], { timeout: 300_000 })
  await cp(join(root, 'bin'), join(directory, 'bin'), { recursive: true })
  await cp(join(root, 'package.json'), join(directory, 'package.json'))
  await symlink(join(root, 'node_modules'), join(directory, 'node_modules'))
  return {
    insitu: join(directory, 'bin/insitu'),
    close: () => rm(directory, { recursive: true, force: true }),
  }
}
