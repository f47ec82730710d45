import type { BuiltOn } from '../../api/built-on.ts'
import { optionPrefix } from '../../api/names.ts'
import { imagesInProvenance } from '../../buildkit/bases.ts'
import { attestationType } from '../../buildkit/provenance.ts'
import { grpcConnection, type GrpcConnection } from '../../kernel/grpc/connection.ts'
import { fieldOf, messages, string, stringMap } from '../../kernel/grpc/wire.ts'

/** What the daemon's record says of a build. */
export interface Provenance {
  readonly owner: string | undefined
  readonly bases: readonly BuiltOn[]
}

const timeout = 30_000

/**
 * Reads who built it and from which images, from the daemon's history. Field numbers: BuildKit v0.33.1,
 * api/services/control/control.proto; containerd v2.4.2, api/services/content/v1.
 * @returns undefined when the daemon has no provenance of it.
 * @throws InsituError GRPC_CALL_FAILED; SyntaxError
 */
export async function readProvenance(socket: string, ref: string): Promise<Provenance | undefined> {
  const connection = grpcConnection(socket)
  try {
    const digests = new Set<string>()
    const options: Record<string, string> = {}
    // BuildHistoryRequest: Ref, EarlyExit.
    const request = Buffer.concat([fieldOf(2, ref), fieldOf(3, 1)])
    const method = '/moby.buildkit.v1.Control/ListenBuildHistory'
    await connection.stream({ method, request, timeout }, (event) => {
      for (const record of messages(event, 2)) {
        Object.assign(options, stringMap(record, 3))
        const infos = [...messages(record, 10), ...messages(record, 11).flatMap((entry) => messages(entry, 2))]
        for (const attestation of infos.flatMap((info) => messages(info, 2))) {
          if (string(attestation, 1) === attestationType) digests.add(string(attestation, 2))
        }
      }
    })
    if (digests.size === 0) return undefined
    const bases = new Map<string, BuiltOn>()
    for (const digest of digests) {
      for (const base of imagesInProvenance(await readDocument(connection, digest), options)) {
        bases.set(`${base.name}@${base.digest}`, base)
      }
    }
    return { owner: options[`${optionPrefix}owner`], bases: [...bases.values()] }
  } finally {
    connection.close()
  }
}

async function readDocument(connection: GrpcConnection, digest: string): Promise<unknown> {
  const chunks: Buffer[] = []
  const method = '/containerd.services.content.v1.Content/Read'
  await connection.stream({ method, request: fieldOf(1, digest), timeout }, (message) => {
    // Copies: messages lie in a buffer that is used again.
    for (const data of messages(message, 2)) chunks.push(Buffer.from(data))
  })
  return JSON.parse(Buffer.concat(chunks).toString('utf8'))
}
