import { optionPrefix } from '../../api/names.ts'
import { grpcConnection } from '../../kernel/grpc/connection.ts'
import { fieldOf, integer, messages, string, stringMap } from '../../kernel/grpc/wire.ts'
import { namesInRecord } from './active-builds.ts'
import { claimLife } from './keeper.ts'

/** An image under one name. */
export interface NamedDigest {
  readonly name: string
  readonly digest: string
}

const timeout = 30_000

/**
 * Whether a build of several nodes has just made this image here: its part of this node has ended well, and others may be
 * under way, after which a gateway says what the name points to.
 * @throws InsituError GRPC_CALL_FAILED
 */
export async function isOfEndedPart(socket: string, image: NamedDigest): Promise<boolean> {
  const connection = grpcConnection(socket)
  let found = false
  try {
    // BuildHistoryRequest: EarlyExit, Filter.
    const filter = `completedAt>=${claimLife / 1000}s,status==completed`
    const request = Buffer.concat([fieldOf(3, 1), fieldOf(4, filter)])
    const method = '/moby.buildkit.v1.Control/ListenBuildHistory'
    await connection.stream({ method, request, timeout }, (event) => {
      // COMPLETE; builds under way come whatever the filter says.
      if (integer(event, 1) === 1) found ||= messages(event, 2).some((record) => hasMade(record, image))
    })
  } finally {
    connection.close()
  }
  return found
}

/** Whether a record is of a part that made this image. Field numbers: BuildKit v0.33.1, api/services/control/control.proto. */
export function hasMade(record: Uint8Array, { name, digest }: NamedDigest): boolean {
  if (!(`${optionPrefix}part` in stringMap(record, 3))) return false
  // BuildResultInfo.Results: what each output made.
  const made = messages(record, 10).flatMap((info) => messages(info, 3).flatMap((entry) => messages(entry, 2)))
  return made.some((descriptor) => string(descriptor, 2) === digest) && namesInRecord(record).includes(name)
}
