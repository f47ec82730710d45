import { create, toBinary } from '@bufbuild/protobuf'
import { timestampFromDate } from '@bufbuild/protobuf/wkt'
import { StatusResponseSchema } from './gen/control_pb.ts'

/**
 * A Status message with one finished step, as clients print them. Clients tell steps apart by digest.
 * @param digest 32 random bytes, the same whenever the same build's Status is asked for.
 */
export function vertexMessage(name: string, digest: Uint8Array, at: Date): Uint8Array {
  const time = timestampFromDate(at)
  return toBinary(
    StatusResponseSchema,
    create(StatusResponseSchema, {
      vertexes: [
        { digest: `sha256:${Buffer.from(digest).toString('hex')}`, name, inputs: [], started: time, completed: time },
      ],
    }),
  )
}
