import { optionPrefix } from '../../api/names.ts'
import { fieldOf, integer, messages, string, stringMap } from '../../kernel/grpc/wire.ts'
import { listenHistory } from '../buildkitd/listen-history.ts'
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
  let found = false
  // BuildHistoryRequest: EarlyExit, Filter.
  const request = Buffer.concat([fieldOf(3, 1), fieldOf(4, `completedAt>=${claimLife / 1000}s,status==completed`)])
  const look = (event: Uint8Array): void => {
    // COMPLETE; builds under way come whatever the filter says.
    if (integer(event, 1) === 1) found ||= messages(event, 2).some((record) => hasMade(record, image))
  }
  await listenHistory(socket, request, look, timeout)
  return found
}

/** Whether a record is of a part that made this image. Field numbers: BuildKit v0.33.1, api/services/control/control.proto. */
export function hasMade(record: Uint8Array, { name, digest }: NamedDigest): boolean {
  if (!(`${optionPrefix}part` in stringMap(record, 3))) return false
  // BuildResultInfo.Results: what each output made.
  const made = messages(record, 10).flatMap((info) => messages(info, 3).flatMap((entry) => messages(entry, 2)))
  return made.some((descriptor) => string(descriptor, 2) === digest) && namesInRecord(record).includes(name)
}
