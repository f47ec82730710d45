import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { mkdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { PassThrough, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import { InsituError } from '../../../src/kernel/errors.ts'

export interface Descriptor {
  readonly mediaType: string
  readonly digest: string
  readonly size: number
}

export interface Layer extends Descriptor {
  /** Digest of the uncompressed tar. */
  readonly diffID: string
  readonly createdBy: string
}

/** The runtime part of an image's configuration: https://github.com/opencontainers/image-spec/blob/main/config.md */
export interface RuntimeConfig {
  readonly Env?: readonly string[]
  readonly Entrypoint?: readonly string[]
  readonly Cmd?: readonly string[]
  readonly WorkingDir?: string
  readonly User?: string
}

export interface Manifest extends Descriptor {
  readonly layers: readonly Layer[]
  readonly config: Descriptor
}

/** An image for several platforms. */
export interface Index extends Descriptor {
  readonly manifests: readonly Manifest[]
}

const prefix = 'application/vnd.oci.image'
/** The machine's. */
export const nativePlatform = process.arch === 'arm64' ? 'linux/arm64' : 'linux/amd64'
export const blobPath = (layout: string, digest: string): string => join(layout, 'blobs', digest.replace(':', '/'))

/** Packs a folder as one gzip layer of the layout. Times are set to zero, so the same files give the same digest. */
export async function addLayer(layout: string, folder: string, createdBy: string): Promise<Layer> {
  const blobs = join(layout, 'blobs/sha256')
  await mkdir(blobs, { recursive: true })
  const temporary = join(blobs, `.layer-${process.pid}`)
  const raw = createHash('sha256')
  const packed = createHash('sha256')
  let size = 0
  const tar = spawn(
    'tar',
    ['--sort=name', '--mtime=@0', '--numeric-owner', '--one-file-system', '-C', folder, '-cf', '-', '.'],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  )
  const ended = new Promise<number | null>((resolve, reject) => tar.once('close', resolve).once('error', reject))
  await pipeline(
    tar.stdout,
    tap((chunk) => raw.update(chunk)),
    createGzip({ level: 3 }),
    tap((chunk) => {
      packed.update(chunk)
      size += chunk.length
    }),
    createWriteStream(temporary),
  )
  if ((await ended) !== 0) throw new InsituError('LAB_IMAGE', `tar could not pack ${folder}`)
  const digest = `sha256:${packed.digest('hex')}`
  await rename(temporary, blobPath(layout, digest))
  return { mediaType: `${prefix}.layer.v1.tar+gzip`, digest, size, diffID: `sha256:${raw.digest('hex')}`, createdBy }
}

const tap = (see: (chunk: Buffer) => void): Transform =>
  new PassThrough({
    transform(chunk: Buffer, _encoding, done) {
      see(chunk)
      done(undefined, chunk)
    },
  })

/** Writes configuration, manifest and index.json of an image whose layers are in the layout. */
export async function writeImage(
  layout: string,
  layers: readonly Layer[],
  runtime: RuntimeConfig,
  platform: string = nativePlatform,
): Promise<Manifest> {
  const created = '1970-01-01T00:00:00Z'
  const config = await addBlob(layout, `${prefix}.config.v1+json`, {
    created,
    ...platformFields(platform),
    config: runtime,
    rootfs: { type: 'layers', diff_ids: layers.map((l) => l.diffID) },
    history: layers.map((l) => ({ created, created_by: l.createdBy })),
  })
  const manifest = await addBlob(layout, `${prefix}.manifest.v1+json`, {
    schemaVersion: 2,
    mediaType: `${prefix}.manifest.v1+json`,
    config,
    layers: layers.map(({ mediaType, digest, size }) => ({ mediaType, digest, size })),
  })
  const image = { ...manifest, layers, config }
  await writeFile(join(layout, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }))
  await writeFile(join(layout, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [manifest] }))
  await writeFile(join(layout, 'image.json'), JSON.stringify(image))
  return image
}

/** Makes one image of those that `writeImage` wrote for the platforms, in the same order. */
export async function writeIndex(
  layout: string,
  manifests: readonly Manifest[],
  platforms: readonly string[],
): Promise<Index> {
  const index = await addBlob(layout, `${prefix}.index.v1+json`, {
    schemaVersion: 2,
    mediaType: `${prefix}.index.v1+json`,
    manifests: manifests.map(({ mediaType, digest, size }, i) => ({
      ...{ mediaType, digest, size },
      platform: platformFields(platforms[i] ?? nativePlatform),
    })),
  })
  await writeFile(join(layout, 'image.json'), JSON.stringify({ ...index, manifests }))
  return { ...index, manifests }
}

function platformFields(platform: string): { os: string; architecture: string; variant?: string } {
  const [os = '', architecture = '', variant] = platform.split('/')
  return { os, architecture, ...(variant === undefined ? {} : { variant }) }
}

/** Writes a blob of JSON. */
export async function addBlob(layout: string, mediaType: string, content: object): Promise<Descriptor> {
  const text = JSON.stringify(content)
  const digest = `sha256:${createHash('sha256').update(text).digest('hex')}`
  await mkdir(join(layout, 'blobs/sha256'), { recursive: true })
  await writeFile(blobPath(layout, digest), text)
  return { mediaType, digest, size: Buffer.byteLength(text) }
}

/** Makes a folder through `make` so that it is there whole or not at all. */
export async function makeFolder(path: string, make: (temporary: string) => Promise<void>): Promise<void> {
  const temporary = `${path}.new`
  await rm(temporary, { recursive: true, force: true })
  await mkdir(temporary, { recursive: true })
  await make(temporary)
  await rm(path, { recursive: true, force: true })
  await rename(temporary, path)
}
