import { existsSync } from 'node:fs'
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { run } from '../../../src/kernel/process/run.ts'
import { foreignArchitecture, foreignProgram } from '../foreign.ts'
import { toolsBin } from '../layout.ts'
import { folder } from './base.ts'
import { hashOf } from './cache.ts'
import { addBlob, addLayer, blobPath, type Descriptor } from './oci.ts'

interface ImageManifest {
  readonly mediaType: string
  readonly config: Descriptor
  readonly layers: readonly Descriptor[]
}

interface ImageConfig {
  readonly rootfs: { readonly type: string; readonly diff_ids: readonly string[] }
  readonly history?: readonly object[]
}

/**
 * The same image as its build for the foreign architecture would be, made from the machine's: with the buildkitd
 * that takes itself for one of that architecture. Kept beside `tar`.
 * @param tar an OCI tar with one image for one platform
 */
export async function foreignImage(tar: string): Promise<string> {
  const made = tar.replace(/\.tar$/, '-foreign.tar')
  const daemon = join(toolsBin, foreignProgram('buildkitd'))
  const index = (await run('tar', ['-xOf', tar, 'index.json'])).stdout
  const key = await hashOf([daemon], [index])
  if (existsSync(made) && (await readFile(`${made}.key`, 'utf8').catch(() => '')) === key) return made

  const layout = `${made}.layout`
  await rm(layout, { recursive: true, force: true })
  await mkdir(layout)
  await run('tar', ['-xf', tar, '-C', layout])
  const read = async <T>({ digest }: Descriptor): Promise<T> =>
    JSON.parse(await readFile(blobPath(layout, digest), 'utf8')) as T
  const { manifests, ...rest } = JSON.parse(index) as { manifests: (Descriptor & { platform?: object })[] }
  const [named] = manifests
  if (!named) throw new Error(`${tar} holds no image`)
  const manifest = await read<ImageManifest>(named)
  const config = await read<ImageConfig>(manifest.config)

  const scratch = `${made}.scratch`
  const { folder: program } = await folder(scratch, 'program', { 'usr/bin/buildkitd': daemon })
  const { mediaType, digest, size, diffID, createdBy } = await addLayer(
    layout,
    program,
    `add ${foreignProgram('buildkitd')}`,
  )
  const newConfig = await addBlob(layout, manifest.config.mediaType, {
    ...config,
    architecture: foreignArchitecture,
    rootfs: { ...config.rootfs, diff_ids: [...config.rootfs.diff_ids, diffID] },
    history: [...(config.history ?? []), { created_by: createdBy }],
  })
  const newManifest = await addBlob(layout, manifest.mediaType, {
    ...manifest,
    config: newConfig,
    layers: [...manifest.layers, { mediaType, digest, size }],
  })
  const platform = { os: 'linux', architecture: foreignArchitecture }
  await writeFile(
    join(layout, 'index.json'),
    JSON.stringify({ ...rest, manifests: [{ ...named, ...newManifest, platform }] }),
  )
  await run('tar', ['-cf', `${made}.new`, '-C', layout, 'oci-layout', 'index.json', 'blobs'])
  await rename(`${made}.new`, made)
  await writeFile(`${made}.key`, key)
  for (const directory of [layout, scratch]) await rm(directory, { recursive: true })
  return made
}
