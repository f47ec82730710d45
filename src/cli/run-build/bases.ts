import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { connect } from 'node:tls'
import type { BuildStatus } from '../../api/builds/builds.ts'
import type { Work } from '../../api/builds/work.ts'
import { imagesInProvenance } from '../../buildkit/bases.ts'
import { contentPaths, readData, readRequest } from '../../buildkit/content.ts'
import { decodeHistoryEvent, historyRequestFor, nodeHeader } from '../../buildkit/history.ts'
import { paths } from '../../buildkit/methods.ts'
import { attestationType } from '../../buildkit/provenance.ts'
import { normalizeReference } from '../../buildkit/reference.ts'
import { describeError } from '../../kernel/errors.ts'
import { grpcConnection, type GrpcConnection } from '../../kernel/grpc/connection.ts'
import type { Files } from './arguments.ts'

/** Milliseconds for each of the calls. */
const timeout = 30_000

/**
 * The images that the build of this pod was made from: what the daemon wrote into its provenance, read through the
 * gateway. Undefined when that cannot be read, which fails no build.
 * @param node where it was built, if that is known: nobody else is asked then.
 */
export async function basesOf(
  work: Work,
  files: Pick<Files, 'tls' | 'ref'>,
  node: string | undefined,
  say: (line: string) => void,
): Promise<BuildStatus['bases']> {
  let connection: GrpcConnection | undefined
  try {
    const ref = (await readFile(files.ref, 'utf8')).trim()
    connection = await connectTo(work, files.tls)
    const { digests, options } = await provenanceOf(connection, ref, node)
    const used = new Map<string, { name: string; digest: string; pinned?: true }>()
    const ours = new Set((work.recipe.bases ?? []).map(({ name }) => normalizeReference(name)))
    for (const digest of digests) {
      const images = imagesInProvenance(await readDocument(connection, digest), options)
      for (const { name, digest: found, pinned } of images) {
        used.set(`${name}@${found}`, { name, digest: found, ...(pinned && !ours.has(name) ? { pinned } : {}) })
      }
    }
    return digests.size === 0 ? undefined : [...used.values()]
  } catch (error) {
    say(
      `insitu: the provenance of the build cannot be read, so its bases are not in the status: ${describeError(error)}`,
    )
    return undefined
  } finally {
    connection?.close()
  }
}

async function connectTo({ gateway }: Work, directory: string): Promise<GrpcConnection> {
  const { host, port, serverName } = gateway
  const [ca, cert, key] = await Promise.all(
    ['ca.pem', 'cert.pem', 'key.pem'].map((name) => readFile(join(directory, name))),
  )
  return grpcConnection({
    name: `${host}:${port}`,
    connect: () => {
      const options = { host, port, ca, cert, key, servername: serverName, ALPNProtocols: ['h2'] }
      const socket = connect({ ...options, minVersion: 'TLSv1.3' })
      socket.on('error', () => undefined)
      return socket
    },
  })
}

async function provenanceOf(
  connection: GrpcConnection,
  ref: string,
  node: string | undefined,
): Promise<{ readonly digests: ReadonlySet<string>; readonly options: Readonly<Record<string, string>> }> {
  const digests = new Set<string>()
  const options: Record<string, string> = {}
  const metadata = node === undefined ? {} : { [nodeHeader]: node }
  const call = { method: paths.listenBuildHistory, request: historyRequestFor(ref), metadata, timeout }
  await connection.stream(call, (message) => {
    const { record } = decodeHistoryEvent(message)
    Object.assign(options, record?.frontendAttrs)
    const infos = [record?.result, ...Object.values(record?.results ?? {})]
    for (const { mediaType, digest } of infos.flatMap((info) => info?.attestations ?? [])) {
      if (mediaType === attestationType) digests.add(digest)
    }
  })
  return { digests, options }
}

async function readDocument(connection: GrpcConnection, digest: string): Promise<unknown> {
  const chunks: Uint8Array[] = []
  await connection.stream({ method: contentPaths.read, request: readRequest(digest), timeout }, (message) => {
    // A copy: messages lie in a buffer that is used again.
    chunks.push(Buffer.from(readData(message)))
  })
  return JSON.parse(Buffer.concat(chunks).toString('utf8'))
}
