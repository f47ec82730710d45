import { existsSync } from 'node:fs'
import { mkdir, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { run } from '../../src/kernel/process/run.ts'
import { cacheDir } from './layout.ts'
import { hashOf } from './images/cache.ts'

/** Compiles pause.c (static): the first process of a node, and the pause image's only file. Returns its path. */
export async function ensureInit(): Promise<string> {
  const source = join(import.meta.dirname, 'pause.c')
  const out = join(cacheDir, 'bin', `pause-${await hashOf([source])}`)
  if (existsSync(out)) return out
  await mkdir(join(cacheDir, 'bin'), { recursive: true })
  await run('cc', ['-Os', '-static', '-s', '-Wall', '-o', `${out}.new`, source])
  await rename(`${out}.new`, out)
  return out
}
