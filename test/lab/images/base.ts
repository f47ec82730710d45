import { existsSync } from 'node:fs'
import { chmod, copyFile, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { run } from '../../../src/kernel/process/run.ts'
import { ensureInit } from '../init.ts'
import { cacheDir, toolsBin } from '../layout.ts'
import { withLock } from '../lock.ts'
import { silent, type Progress } from '../progress.ts'
import { hashOf } from './cache.ts'
import {
  addLayer,
  type Index,
  makeFolder,
  type Manifest,
  nativePlatform,
  type RuntimeConfig,
  writeImage,
  writeIndex,
} from './oci.ts'
import { debianArchitectures, debianPackages } from './packages.ts'
import { pushImage } from './push.ts'

/** How one base image is made. */
export interface Recipe {
  /** Without the registry: `library/busybox`. */
  readonly repository: string
  readonly tags: readonly string[]
  /** Files and texts that decide the content. */
  inputs(): Promise<{ files: readonly string[]; texts?: readonly string[] }>
  /** Platforms of an image for several. Default: the machine's alone. */
  readonly platforms?: readonly string[]
  /** Fills folders, one per layer, and says how each came to be. */
  layers(scratch: string, platform: string): Promise<readonly { folder: string; createdBy: string }[]>
  readonly config: RuntimeConfig
}

export const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
export const corednsImage = 'registry.k8s.io/coredns/coredns:lab'

const pause: Recipe = {
  repository: 'pause',
  tags: ['3.10'],
  inputs: async () => ({ files: [await ensureInit()] }),
  layers: async (scratch) => [await folder(scratch, 'pause', { pause: await ensureInit() })],
  config: { Entrypoint: ['/pause'], User: '65535' },
}

const coredns: Recipe = {
  repository: 'coredns/coredns',
  tags: ['lab'],
  inputs: async () => ({ files: [join(toolsBin, 'coredns')] }),
  layers: async (scratch) => [await folder(scratch, 'coredns', { coredns: join(toolsBin, 'coredns') })],
  config: { Entrypoint: ['/coredns'] },
}

const busybox: Recipe = {
  repository: 'library/busybox',
  tags: ['latest', '1.36'],
  inputs: async () => ({ files: ['/usr/bin/busybox'], texts: ['2'] }),
  layers: async (scratch) => {
    return busyboxLayers(scratch, '/usr/bin/busybox')
  },
  config: { Cmd: ['sh'], Env: [`PATH=${defaultPath}`] },
}

/** Debian's busybox for several platforms under one name: what builds for several platforms start from. */
export const multiBusybox: Recipe = {
  repository: 'library/busybox',
  tags: ['multi'],
  platforms: Object.keys(debianArchitectures),
  inputs: () => Promise.resolve({ files: [], texts: ['1', ...Object.keys(debianArchitectures)] }),
  layers: async (scratch, platform) => {
    const [file = ''] = await debianPackages(debianArchitectures[platform] ?? '', ['busybox-static'])
    await mkdir(scratch, { recursive: true })
    await run('dpkg-deb', ['-x', file, join(scratch, 'package')])
    return busyboxLayers(scratch, join(scratch, 'package/bin/busybox'))
  },
  config: { Cmd: ['sh'], Env: [`PATH=${defaultPath}`] },
}

/** @param program a static busybox of any architecture; its applets are those of this machine's */
async function busyboxLayers(scratch: string, program: string): ReturnType<Recipe['layers']> {
  const bin = await folder(scratch, 'busybox', { 'bin/busybox': program })
  const { stdout } = await run('/usr/bin/busybox', ['--list'])
  for (const applet of stdout.split('\n').filter((a) => a !== 'busybox')) {
    await symlink('busybox', join(bin.folder, 'bin', applet))
  }
  const etc = join(scratch, 'etc')
  for (const dir of ['etc', 'tmp', 'root', 'home', 'var/tmp', 'dev', 'proc', 'sys', 'usr/bin']) {
    await mkdir(join(etc, dir), { recursive: true })
  }
  for (const dir of ['tmp', 'var/tmp']) await chmod(join(etc, dir), 0o1777)
  await writeFile(
    join(etc, 'etc/passwd'),
    'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n',
  )
  await writeFile(join(etc, 'etc/group'), 'root:x:0:\nnogroup:x:65534:\n')
  return [bin, { folder: etc, createdBy: 'accounts and folders' }]
}

/** What `up` itself needs, and the rest, which `images` makes. */
export const systemRecipes: readonly Recipe[] = [pause, coredns, busybox]

/** One layer that holds copies of files: path in the image to path on this machine. */
export async function folder(scratch: string, name: string, files: Record<string, string>) {
  const at = join(scratch, name)
  for (const [to, from] of Object.entries(files)) {
    await mkdir(join(at, to, '..'), { recursive: true })
    await copyFile(from, join(at, to))
    await chmod(join(at, to), 0o755)
  }
  return { folder: at, createdBy: `add ${Object.keys(files).join(' ')}` }
}

/** Makes the images that are not in the cache and pushes those that the registry does not have. */
export async function ensureImages(
  recipes: readonly Recipe[],
  registry: string,
  progress: Progress = silent,
): Promise<void> {
  const images = await Promise.all(recipes.map(async (recipe) => ({ recipe, layout: await layoutOf(recipe) })))
  const missing = () => images.filter(({ layout }) => !existsSync(layout))
  if (missing().length > 0) {
    await withLock('base', async () => {
      // Another command may have made some while this one waited. All at once: one waits for a mirror, another computes.
      const made = await Promise.allSettled(
        missing().map(async ({ recipe, layout }) => {
          await make(recipe, layout)
          progress.step(`made ${recipe.repository}:${recipe.tags[0]}`)
        }),
      )
      for (const one of made) if (one.status === 'rejected') throw one.reason
    })
  }
  for (const { recipe, layout } of images) {
    const image = JSON.parse(await readFile(join(layout, 'image.json'), 'utf8')) as Manifest | Index
    for (const tag of recipe.tags) await pushImage(layout, image, registry, recipe.repository, tag)
  }
}

async function layoutOf(recipe: Recipe): Promise<string> {
  const inputs = await recipe.inputs()
  const key = await hashOf(inputs.files, [JSON.stringify(recipe.config), ...(inputs.texts ?? [])])
  return join(cacheDir, 'images', `${recipe.repository.replaceAll('/', '-')}-${recipe.tags[0]}-${key}`)
}

const make = (recipe: Recipe, layout: string): Promise<void> =>
  makeFolder(layout, async (temporary) => {
    const scratch = join(temporary, 'scratch')
    const platforms = recipe.platforms ?? [nativePlatform]
    const manifests = []
    for (const platform of platforms) {
      const layers = []
      for (const layer of await recipe.layers(scratch, platform)) {
        layers.push(await addLayer(temporary, layer.folder, layer.createdBy))
      }
      await rm(scratch, { recursive: true, force: true })
      manifests.push(await writeImage(temporary, layers, recipe.config, platform))
    }
    if (recipe.platforms) await writeIndex(temporary, manifests, platforms)
  })
