import { once } from 'node:events'
import type { Http2Stream } from '../http2/stream.ts'
import { frame } from '../../kernel/grpc/framing.ts'
import { type Status, status, statusTrailers } from '../../kernel/grpc/status.ts'
import { fieldsOf, openAnswer } from './end-call.ts'

/** Trailer that names the nodes whose part is missing in a merged answer, with a comma between them. */
export const missingTrailer = 'insitu-missing-nodes'

/** Messages of ours to a client, sent no faster than it reads them. Safe on a stream that is gone. */
export interface Reply {
  send(message: Uint8Array): Promise<void>
  end(missing?: readonly { readonly node: string }[], how?: Status): void
}

/** Sends the headers of an answer of our own. */
export function openReply(
  stream: Http2Stream,
  signal: AbortSignal,
  headers: Readonly<Record<string, string>> = {},
): Reply {
  const gone = (): boolean => stream.closed || stream.writableEnded
  openAnswer(stream, fieldsOf(headers))
  return {
    async send(message) {
      if (gone() || stream.write(frame(message))) return
      await once(stream, 'drain', { signal }).catch(() => undefined)
    },
    end(missing = [], how = status('OK', '')) {
      if (gone()) return
      const names = missing.map(({ node }) => node).join(',')
      const trailers = { ...statusTrailers(how), ...(names === '' ? {} : { [missingTrailer]: names }) }
      stream.end(undefined, fieldsOf(trailers))
    },
  }
}
