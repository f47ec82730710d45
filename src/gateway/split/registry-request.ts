import { request as plain } from 'node:http'
import { request as secure } from 'node:https'
import type { IncomingHttpHeaders } from 'node:http'

export interface RegistryRequest {
  readonly method: 'PUT' | 'GET'
  readonly headers: Readonly<Record<string, string>>
  readonly body?: Uint8Array | undefined
  /** The server's certificate is not looked at. */
  readonly insecure: boolean
  readonly signal: AbortSignal
}

export interface RegistryAnswer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  /** The first bytes, for errors and tokens. */
  readonly body: string
}

/** Milliseconds without a byte. */
const patience = 60_000
const mostRead = 256 << 10

/** One request to a registry or its token server. Rejects with the network's error. */
export function askRegistry(url: URL, options: RegistryRequest): Promise<RegistryAnswer> {
  const { method, headers, body, insecure, signal } = options
  return new Promise((resolve, reject) => {
    const common = { method, headers, signal, timeout: patience }
    const request =
      url.protocol === 'https:' ? secure(url, { ...common, rejectUnauthorized: !insecure }) : plain(url, common)
    request.once('timeout', () => request.destroy(new Error('no answer in time')))
    request.once('error', reject)
    request.once('response', (response) => {
      const chunks: Buffer[] = []
      let size = 0
      const done = (): void =>
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: Buffer.concat(chunks).toString('utf8'),
        })
      response.on('data', (chunk: Buffer) => {
        size += chunk.length
        if (size <= mostRead) return void chunks.push(chunk)
        done()
        response.destroy()
      })
      response.once('error', reject)
      response.once('end', done)
    })
    request.end(body)
  })
}
