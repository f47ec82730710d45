import { request as plain } from 'node:http'
import { request as secure } from 'node:https'
import { type HttpAnswer, readAnswer } from '../../kernel/http/answer.ts'

export interface RegistryRequest {
  readonly method: 'PUT' | 'GET'
  readonly headers: Readonly<Record<string, string>>
  readonly body?: Uint8Array | undefined
  /** The server's certificate is not looked at. */
  readonly insecure: boolean
  readonly signal: AbortSignal
}

/** Milliseconds without a byte. */
const patience = 60_000

/** One request to a registry or its token server. Rejects with the network's error. */
export function askRegistry(url: URL, options: RegistryRequest): Promise<HttpAnswer> {
  const { method, headers, body, insecure, signal } = options
  return new Promise((resolve, reject) => {
    const common = { method, headers, signal, timeout: patience }
    const request =
      url.protocol === 'https:' ? secure(url, { ...common, rejectUnauthorized: !insecure }) : plain(url, common)
    request.once('timeout', () => request.destroy(new Error('no answer in time')))
    request.once('error', reject)
    request.once('response', (response) => resolve(readAnswer(response)))
    request.end(body)
  })
}
