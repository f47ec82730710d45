import { Http2Stream } from '../../src/gateway/http2/stream.ts'

/** A stream without a connection: the test says what arrives on it. */
export const looseStream = (): Http2Stream =>
  new Http2Stream({
    backlog: { waiting: 0 },
    sendHeaders: () => undefined,
    wantsToSend: () => undefined,
    consumed: () => undefined,
    reset: (stream, code) => void stream.finish(code),
  })
