import { openAsBlob } from 'node:fs'
import { InsituError } from '../../../src/kernel/errors.ts'
import { blobPath, type Descriptor, type Index, type Manifest } from './oci.ts'

/** Pushes an image of an OCI layout as `repository:tag` to a plain-HTTP registry; what it has already is not sent. */
export async function pushImage(
  layout: string,
  image: Manifest | Index,
  registry: string,
  repository: string,
  tag: string,
): Promise<void> {
  const base = `http://${registry}/v2/${repository}`
  const manifest = `${base}/manifests/${tag}`
  const there = await fetch(manifest, { method: 'HEAD', headers: { accept: image.mediaType } })
  if (there.headers.get('docker-content-digest') === image.digest) return
  const manifests = 'manifests' in image ? image.manifests : [image]
  for (const blob of manifests.flatMap(({ layers, config }) => [...layers, config])) {
    if ((await fetch(`${base}/blobs/${blob.digest}`, { method: 'HEAD' })).ok) continue
    const upload = await must(await fetch(`${base}/blobs/uploads/`, { method: 'POST' }), 'start an upload')
    const target = new URL(upload.headers.get('location') ?? '', base)
    target.searchParams.set('digest', blob.digest)
    await must(
      await fetch(target, {
        method: 'PUT',
        headers: { 'content-type': 'application/octet-stream' },
        body: await openAsBlob(blobPath(layout, blob.digest)),
      }),
      `take ${blob.digest}`,
    )
  }
  const put = async (url: string, { mediaType, digest }: Descriptor): Promise<void> => {
    const body = await openAsBlob(blobPath(layout, digest))
    const answer = await fetch(url, { method: 'PUT', headers: { 'content-type': mediaType }, body })
    await must(answer, `take ${repository}:${tag}`)
  }
  if ('manifests' in image) for (const part of manifests) await put(`${base}/manifests/${part.digest}`, part)
  await put(manifest, image)
}

async function must(answer: Response, what: string): Promise<Response> {
  if (answer.ok) return answer
  throw new InsituError('LAB_REGISTRY', `the registry did not ${what}: ${answer.status} ${await answer.text()}`)
}
