import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'

/** What a registry or its token server said. */
export interface HttpAnswer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  /** The first bytes, for errors and tokens. */
  readonly body: string
}

/** Enough for what errors and tokens say; whoever sends more is not listened to. */
const mostRead = 256 << 10

/** Reads an answer as far as it matters. Rejects with the network's error. */
export const readAnswer = (response: IncomingMessage): Promise<HttpAnswer> =>
  new Promise((resolve, reject) => {
    const { statusCode: status = 0, headers } = response
    const chunks: Buffer[] = []
    let size = 0
    const done = (): void => resolve({ status, headers, body: Buffer.concat(chunks).toString('utf8') })
    response.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size <= mostRead) return void chunks.push(chunk)
      done()
      response.destroy()
    })
    response.once('error', reject)
    response.once('end', done)
  })
