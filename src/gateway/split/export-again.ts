import { randomUUID } from 'node:crypto'
import { toBinary } from '@bufbuild/protobuf'
import { decodeBounded } from '../../buildkit/decode.ts'
import { SolveRequestSchema } from '../../buildkit/gen/control_pb.ts'
import { SolveRequestSchema as BridgeSolveSchema } from '../../buildkit/gen/gateway_pb.ts'
import { DaemonRefusal } from './exchange.ts'

/** How often a part is exported at most. */
const mostExports = 3

/**
 * Whether a registry refused a manifest because another node was pushing a layer of it: distribution 2 with its files on
 * disk empties a layer's link before it writes it anew (registry/storage/driver/filesystem, PutContent; whole since
 * version 3), and calls a link that it reads empty a wrong digest. BuildKit takes that for final.
 */
const isHalfWritten = (error: unknown): boolean =>
  error instanceof DaemonRefusal && error.message.includes('provided digest did not match uploaded content')

/** A part's Solve that can be made again. */
export interface Exported {
  /** Control/Solve of the part, encoded. */
  readonly message: Uint8Array
  /** What the client has asked the part's frontend for, LLBBridge's Solve, encoded. */
  readonly asked: () => Uint8Array | undefined
  /** Makes a Solve; rejects with what the daemon says. */
  readonly solve: (message: Uint8Array) => Promise<Buffer>
  readonly onAgain: () => void
}

/** Solves and exports; what another node's push was in the way of is exported again, out of the cache. */
export async function exportPart({ message, asked, solve, onAgain }: Exported): Promise<Buffer> {
  let next = message
  for (let tries = 1; ; tries++) {
    try {
      return await solve(next)
    } catch (error) {
      if (!isHalfWritten(error) || tries === mostExports) throw error
      const again = withFrontend(message, asked())
      if (!again) throw error
      onAgain()
      next = again
    }
  }
}

/** The Solve as of a client that leaves everything to the daemon. @returns undefined when it cannot be said that way. */
function withFrontend(message: Uint8Array, asked: Uint8Array | undefined): Uint8Array | undefined {
  const request = decodeBounded(SolveRequestSchema, message)
  // The daemon keeps the job of a ref for a while.
  request.ref = randomUUID()
  if (request.frontend !== '') return toBinary(SolveRequestSchema, request)
  if (!asked) return undefined
  const { frontend, frontendOpt, frontendInputs } = decodeBounded(BridgeSolveSchema, asked)
  request.frontend = frontend
  request.frontendAttrs = { ...request.frontendAttrs, ...frontendOpt }
  request.frontendInputs = frontendInputs
  return toBinary(SolveRequestSchema, request)
}
