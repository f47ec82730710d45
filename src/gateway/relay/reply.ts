import { once } from 'node:events'
import type { ServerHttp2Stream } from 'node:http2'
import { frame } from '../../kernel/grpc/framing.ts'
import { type Status, status, statusTrailers } from '../../kernel/grpc/status.ts'
import { stopReading } from './end-call.ts'

/** Trailer that names the nodes whose part is missing in a merged answer, with a comma between them. */
export const missingTrailer = 'insitu-missing-nodes'

/** Messages of ours to a client, sent no faster than it reads them. Safe on a stream that is gone. */
export interface Reply {
  send(message: Uint8Array): Promise<void>
  end(missing?: readonly { readonly node: string }[], how?: Status): void
}

/** Sends the headers of an answer of our own. */
export function openReply(
  stream: ServerHttp2Stream,
  signal: AbortSignal,
  headers: Readonly<Record<string, string>> = {},
): Reply {
  const gone = (): boolean => stream.destroyed || stream.closed || stream.writableEnded
  if (!gone()) {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc', ...headers }, {
      waitForTrailers: true,
      sendDate: false,
    } as object)
  }
  return {
    async send(message) {
      if (gone() || stream.write(frame(message))) return
      await once(stream, 'drain', { signal }).catch(() => undefined)
    },
    end(missing = [], how = status('OK', '')) {
      if (gone()) return
      const names = missing.map(({ node }) => node).join(',')
      stream.once('wantTrailers', () => {
        stream.sendTrailers({ ...statusTrailers(how), ...(names === '' ? {} : { [missingTrailer]: names }) })
        stopReading(stream)
      })
      stream.end()
    },
  }
}
