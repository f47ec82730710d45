import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf'
import { timestampFromDate } from '@bufbuild/protobuf/wkt'
import { StatusResponseSchema } from './gen/control_pb.ts'

/** A step of our own in a client's progress. Clients tell steps apart by digest. */
export interface Vertex {
  /** `sha256:…` of anything, the same in every message about the step. */
  readonly digest: string
  readonly name: string
  readonly started: Date
  readonly completed: Date | undefined
  /** Why it failed, for a step that is completed. */
  readonly error: string | undefined
}

/** Bytes moved in a step. */
export interface VertexBytes {
  /** The label that clients print, also what tells several of one step apart. */
  readonly id: string
  readonly current: number
  /** 0: not known. */
  readonly total: number
  readonly started: Date
  readonly completed: Date | undefined
}

/** A Status message with the state of one step. */
export const vertexMessage = (vertex: Vertex): Uint8Array =>
  encode({
    vertexes: [
      {
        digest: vertex.digest,
        name: vertex.name,
        inputs: [],
        started: timestampFromDate(vertex.started),
        ...(vertex.completed ? { completed: timestampFromDate(vertex.completed) } : {}),
        error: vertex.error ?? '',
      },
    ],
  })

/** A Status message with a step's bytes so far. */
export const bytesMessage = (vertex: string, bytes: VertexBytes, at: Date): Uint8Array =>
  encode({
    statuses: [
      {
        id: bytes.id,
        vertex,
        name: bytes.id,
        current: BigInt(bytes.current),
        total: BigInt(bytes.total),
        timestamp: timestampFromDate(at),
        started: timestampFromDate(bytes.started),
        ...(bytes.completed ? { completed: timestampFromDate(bytes.completed) } : {}),
      },
    ],
  })

/** A Status message with a line of a step's log. */
export const logMessage = (vertex: string, line: string, at: Date): Uint8Array =>
  encode({ logs: [{ vertex, timestamp: timestampFromDate(at), stream: 1n, msg: Buffer.from(`${line}\n`) }] })

const encode = (message: MessageInitShape<typeof StatusResponseSchema>): Uint8Array =>
  toBinary(StatusResponseSchema, create(StatusResponseSchema, message))
