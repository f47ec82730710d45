import { create, toBinary } from '@bufbuild/protobuf'
import { decodeBounded } from '../../buildkit/decode.ts'
import {
  CredentialsRequestSchema,
  CredentialsResponseSchema,
  FetchTokenRequestSchema,
  FetchTokenResponseSchema,
} from '../../buildkit/gen/auth_pb.ts'
import { describeError, type GrpcStatus, InsituError } from '../../kernel/errors.ts'
import { frame, unframe } from '../../kernel/grpc/framing.ts'
import { decodeMessage, statusName } from '../../kernel/grpc/status.ts'
import { errorCodes } from '../http2/errors.ts'
import type { RawHeaders } from '../http2/raw-headers.ts'
import { header } from '../relay/headers.ts'
import type { ClientSession } from './split-build.ts'

/** A bearer token that a registry asks for (distribution spec, token authentication). */
export interface TokenQuestion {
  readonly host: string
  readonly realm: string
  readonly service: string
  readonly scopes: readonly string[]
}

/** The registry credentials in a client's session: BuildKit v0.33.1, session/auth. */
export interface ClientCredentials {
  /** The client asks its registry itself. undefined: it is too old to know how. */
  token(question: TokenQuestion, signal: AbortSignal): Promise<string | undefined>
  /** undefined: the client has none for this host. */
  basic(host: string, signal: AbortSignal): Promise<{ readonly username: string; readonly secret: string } | undefined>
}

const service = '/moby.filesync.v1.Auth/'

export function clientCredentials(session: ClientSession): ClientCredentials {
  return {
    async token({ host, realm, service: name, scopes }, signal) {
      const message = create(FetchTokenRequestSchema, {
        clientId: 'insitu',
        ...{ host, realm, service: name, scopes: [...scopes] },
      })
      const answer = await askClient(
        session,
        `${service}FetchToken`,
        toBinary(FetchTokenRequestSchema, message),
        signal,
      )
      return answer && decodeBounded(FetchTokenResponseSchema, answer).token
    },
    async basic(host, signal) {
      const message = toBinary(CredentialsRequestSchema, create(CredentialsRequestSchema, { host }))
      const answer = await askClient(session, `${service}Credentials`, message, signal)
      if (!answer) return undefined
      const { username, secret } = decodeBounded(CredentialsResponseSchema, answer)
      return secret === '' ? undefined : { username, secret }
    },
  }
}

/** Most bytes of an answer: tokens have a few thousand. */
const mostRead = 1 << 20

/** @returns undefined when the client does not know the method. @throws InsituError SESSION_CALL; the signal's reason. */
async function askClient(
  session: ClientSession,
  path: string,
  message: Uint8Array,
  signal: AbortSignal,
): Promise<Uint8Array | undefined> {
  signal.throwIfAborted()
  const stream = session.request([
    ...[':method', 'POST', ':scheme', 'http', ':authority', 'localhost', ':path', path],
    ...['content-type', 'application/grpc', 'te', 'trailers'],
  ])
  const body = await new Promise<Buffer | undefined>((resolve, reject) => {
    const chunks: Buffer[] = []
    let size = 0
    let said: RawHeaders | undefined
    const note = (headers: RawHeaders): void => {
      if (header(headers, 'grpc-status') !== undefined) said = headers
    }
    const abort = (): void => stream.close(errorCodes.CANCEL)
    signal.addEventListener('abort', abort, { once: true })
    stream.on('response', note)
    stream.on('trailers', note)
    stream.on('data', (chunk) => {
      size += chunk.length
      if (size <= mostRead) chunks.push(chunk)
      else abort()
    })
    stream.on('close', () => {
      signal.removeEventListener('abort', abort)
      const code = said === undefined ? 14 : Number(header(said, 'grpc-status'))
      if (size > mostRead) return reject(refused('its answer is too large'))
      if (code === 0) return resolve(Buffer.concat(chunks))
      if (code === 12) return resolve(undefined)
      const text = said ? decodeMessage(header(said, 'grpc-message') ?? '') : 'the session is gone'
      reject(refused(text, statusName(code)))
    })
    stream.end(frame(message))
  })
  // Not in a listener: what a client sends must not throw where nobody catches.
  try {
    return body && unframe(body)
  } catch (error) {
    throw refused(describeError(error))
  }
}

const refused = (text: string, status: GrpcStatus = 'UNKNOWN'): InsituError =>
  new InsituError('SESSION_CALL', `the client does not give its registry credentials: ${text}`, { status })
