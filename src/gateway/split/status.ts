import { createHash } from 'node:crypto'
import { toBinary } from '@bufbuild/protobuf'
import { decodeBounded } from '../../buildkit/decode.ts'
import { StatusResponseSchema } from '../../buildkit/gen/control_pb.ts'

/**
 * Status messages of one part as the client gets them: steps say their platform, and are others than the same steps of
 * the other parts, which have the same digests.
 * @param platforms of the part.
 */
export function relabel(platforms: readonly string[]): (message: Uint8Array) => Uint8Array {
  const label = platforms.join(',')
  const known = new Map<string, string>()
  const own = (digest: string): string => {
    if (digest === '') return digest
    const found = known.get(digest)
    if (found !== undefined) return found
    const made = `sha256:${createHash('sha256').update(`${label} ${digest}`).digest('hex')}`
    known.set(digest, made)
    return made
  }
  return (message) => {
    const status = decodeBounded(StatusResponseSchema, message)
    for (const vertex of status.vertexes) {
      vertex.digest = own(vertex.digest)
      vertex.inputs = vertex.inputs.map(own)
      vertex.name = named(vertex.name, label, platforms)
      if (vertex.progressGroup) {
        vertex.progressGroup.id = `${label} ${vertex.progressGroup.id}`
        vertex.progressGroup.name = named(vertex.progressGroup.name, label, platforms)
      }
    }
    for (const line of [...status.statuses, ...status.logs, ...status.warnings]) line.vertex = own(line.vertex)
    return toBinary(StatusResponseSchema, status)
  }
}

/** `[2/3] RUN make` becomes `[linux/arm64 2/3] RUN make`, as a frontend writes that builds several platforms. */
function named(name: string, label: string, platforms: readonly string[]): string {
  const bracket = /^\[([^\]]+)\]/.exec(name)
  if (!bracket) return name === '' ? name : `[${label}] ${name}`
  const words = (bracket[1] ?? '').split(' ')
  // Of several platforms in one part the frontend says itself which one it is.
  if (words.some((word) => platforms.includes(word))) return name
  return `[${label} ${name.slice(1)}`
}
