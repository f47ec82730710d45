import { create, toBinary } from '@bufbuild/protobuf'
import { InsituError } from '../kernel/errors.ts'
import { decodeBounded } from './decode.ts'
import { InfoRequestSchema, ReadContentRequestSchema, ReadContentResponseSchema } from './gen/content_pb.ts'

const service = '/containerd.services.content.v1.Content/'

/** containerd's content service, as daemons offer it: containerd v2.4.2, api/services/content/v1. */
export const contentPaths = { info: `${service}Info`, read: `${service}Read` } as const

/** The digest an Info or Read asks for: both have it in the same field. */
export const askedDigest = (message: Uint8Array): string => decodeBounded(InfoRequestSchema, message).digest

export const readRequest = (digest: string): Uint8Array =>
  toBinary(ReadContentRequestSchema, create(ReadContentRequestSchema, { digest }))

/**
 * An Info or Read of this blob, as a daemon gets it. Nothing of the client's own bytes is in it, not even unknown fields:
 * what is a known field here, of a wrong type or with too great a number, is an unknown one to a daemon, and the other
 * way round, so that it would read another digest than was checked.
 */
export function askedOf(path: string, message: Uint8Array, digest: string): Uint8Array {
  if (path === contentPaths.info) return toBinary(InfoRequestSchema, create(InfoRequestSchema, { digest }))
  const { offset, size } = decodeBounded(ReadContentRequestSchema, message)
  return toBinary(ReadContentRequestSchema, create(ReadContentRequestSchema, { digest, offset, size }))
}

export const readData = (message: Uint8Array): Uint8Array => decodeBounded(ReadContentResponseSchema, message).data

/** Media types of blobs that name other blobs. */
export const namesOthers = (mediaType: string): boolean =>
  /^application\/vnd\.(oci\.image\.(index|manifest)\.v1|docker\.distribution\.manifest(\.list)?\.v2)\+json$/.test(
    mediaType,
  )

export interface Child {
  readonly digest: string
  readonly mediaType: string
  readonly size: number
}

/** What an index or a manifest names. OCI image spec v1.1, image-index.md and manifest.md. Nothing for other JSON. */
export function childrenOf(blob: Uint8Array): Child[] {
  const parsed = parse(blob)
  const of = (key: string): unknown[] => {
    const value = parsed[key]
    return Array.isArray(value) ? value : value === undefined ? [] : [value]
  }
  return ['manifests', 'config', 'layers', 'blobs'].flatMap(of).filter(isChild)
}

function parse(blob: Uint8Array): Readonly<Record<string, unknown>> {
  try {
    const value = JSON.parse(Buffer.from(blob).toString('utf8')) as unknown
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
  } catch {
    return {}
  }
}

const isChild = (value: unknown): value is Child => {
  if (typeof value !== 'object' || value === null) return false
  const { digest, mediaType, size } = value as Record<string, unknown>
  return typeof digest === 'string' && typeof mediaType === 'string' && typeof size === 'number'
}

/** The part of a blob that a Read asks for, in messages as containerd cuts them. @throws InsituError CONTENT_RANGE */
export function* readAnswer(message: Uint8Array, blob: Uint8Array): Generator<Uint8Array> {
  const { offset, size } = decodeBounded(ReadContentRequestSchema, message)
  const [from, most] = [Number(offset), Number(size)]
  if (from < 0 || most < 0 || from > blob.length) {
    throw new InsituError('CONTENT_RANGE', `the blob has ${blob.length} bytes`, { status: 'OUT_OF_RANGE' })
  }
  const until = most === 0 ? blob.length : Math.min(blob.length, from + most)
  for (let at = from; at < until; at += pieceOfBlob) {
    const data = blob.subarray(at, Math.min(until, at + pieceOfBlob))
    yield toBinary(ReadContentResponseSchema, create(ReadContentResponseSchema, { offset: BigInt(at), data }))
  }
}

const pieceOfBlob = 1 << 20
