import { existsSync } from 'node:fs'
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { run } from '../../../src/kernel/process/run.ts'
import { image } from '../../../src/api/names.ts'
import { openLab } from '../lab.ts'
import { cacheDir, checkout, toolsBin } from '../layout.ts'
import { withLock } from '../lock.ts'
import { runLogged } from '../processes.ts'
import type { Progress } from '../progress.ts'
import { readState } from '../state.ts'
import { allRecipes } from './all.ts'
import { ensureImages } from './base.ts'
import { withBuildkitd } from './bootstrap.ts'
import { hashOf } from './cache.ts'
import { foreignImage } from './foreign.ts'
import { withImageRegistry } from './registry.ts'

/** What the Dockerfile copies, and what decides how. */
const inputs = ['Dockerfile', '.dockerignore', '.npmrc', 'LICENSE', 'bin', 'src', 'package.json', 'package-lock.json']
const inputPatterns = ['buf*.yaml', 'tsconfig*.json']

/** The image's name with the version of package.json, as the manifests of `install/` have it. */
export async function insituImage(): Promise<string> {
  const { version } = JSON.parse(await readFile(join(checkout, 'package.json'), 'utf8')) as { version: string }
  return `${image}:${version}`
}

/**
 * Builds the Dockerfile of the repository into `.lab/cache/insitu.tar` unless nothing it reads has changed, and loads
 * it into the nodes that do not have it.
 */
export async function buildInsituImage(progress: Progress): Promise<{ name: string; tar: string }> {
  return withLock('image', () => build(progress), 900_000)
}

async function build(progress: Progress): Promise<{ name: string; tar: string }> {
  const name = await insituImage()
  const tar = join(cacheDir, 'cache/insitu.tar')
  const keyFile = join(cacheDir, 'cache/insitu.key')
  const key = await sourceKey(name)
  const before = existsSync(tar) ? await readFile(keyFile, 'utf8').catch(() => '') : ''
  if (before !== key) {
    await mkdir(join(cacheDir, 'cache'), { recursive: true })
    await rm(keyFile, { force: true })
    await withImageRegistry(async (registry) => {
      await ensureImages(allRecipes, registry, progress)
      await withBuildkitd(registry, async (address) => {
        progress.step('building the image')
        await runLogged(
          join(toolsBin, 'buildctl'),
          [
            ...['--addr', address, 'build', '--progress=plain', '--frontend=dockerfile.v0'],
            ...[`--local=context=${checkout}`, `--local=dockerfile=${checkout}`],
            ...[`--output=type=oci,name=${name},dest=${tar}.new`],
          ],
          { log: join(cacheDir, 'cache/build.log'), timeout: 600_000 },
        )
      })
    })
    await rename(`${tar}.new`, tar)
    await writeFile(keyFile, key)
    progress.step(`${name} built`)
  }
  const state = readState()
  if (state) {
    const lab = openLab()
    const foreign = state.foreign.length > 0 ? await foreignImage(tar) : tar
    await Promise.all(
      lab.nodes.map(async (node) => {
        const fitting = state.foreign.includes(node) ? foreign : tar
        const digest = await tarDigest(fitting)
        const { stdout } = await lab.exec(node, ['ctr', '-n', 'k8s.io', 'images', 'ls', `name==${name}`])
        if (stdout.includes(digest)) return
        await lab.load(fitting, [node])
        progress.step(`loaded into ${node}`)
      }),
    )
  }
  return { name, tar }
}

async function sourceKey(name: string): Promise<string> {
  const { stdout } = await run('git', ['ls-files', '-co', '--exclude-standard', '--', ...inputs, ...inputPatterns], {
    cwd: checkout,
  })
  const files = [...new Set(stdout.split('\n'))]
    .filter((f) => f && !f.endsWith('.test.ts') && existsSync(join(checkout, f)))
    .sort()
  return hashOf(
    files.map((f) => join(checkout, f)),
    [name, ...files],
  )
}

async function tarDigest(tar: string): Promise<string> {
  const { stdout } = await run('tar', ['-xOf', tar, 'index.json'])
  const index = JSON.parse(stdout) as { manifests: { digest: string }[] }
  return index.manifests[0]?.digest ?? 'none'
}
