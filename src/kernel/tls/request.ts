import { readFile } from 'node:fs/promises'
import { InsituError } from '../errors.ts'
import { postJson } from '../grpc/json.ts'
import { createKeyPair } from './key.ts'
import type { TlsMaterial } from './material.ts'

export interface CertificateRequester {
  /** Where the gateway listens, e.g. `buildkitd.buildkit-system.svc` and 2375. */
  readonly host: string
  readonly port: number
  /** A unix socket that leads there, instead of host and port. */
  readonly socketPath?: string | undefined
  /** Name the gateway's certificate must carry. Default the host. */
  readonly serverName?: string
  /** Path of the request: see src/api/certificate.ts. */
  readonly path: string
  /**
   * A service account token for the gateway's audience, or the file that holds one. Asked for each request: the kubelet
   * renews the file.
   */
  readonly tokenFile: string | ((signal: AbortSignal) => Promise<string>)
  /** The CA that the gateway's certificate is checked against, PEM; may change between requests. */
  readonly loadCa: (signal: AbortSignal) => Promise<string>
  /** Milliseconds for one request. Default 10,000. */
  readonly timeout?: number
}

/**
 * Asks a gateway for a certificate for a new key, which stays here: only its public half is sent.
 * Made for `renewingTls({ obtain: (signal) => requestCertificate(options, signal) })`.
 * @throws InsituError CERTIFICATE_REFUSED with the gateway's sentence; others when it cannot be reached.
 */
export async function requestCertificate(options: CertificateRequester, signal: AbortSignal): Promise<TlsMaterial> {
  const [ca, token, pair] = await Promise.all([
    options.loadCa(signal),
    typeof options.tokenFile === 'string' ? readFile(options.tokenFile, 'utf8') : options.tokenFile(signal),
    createKeyPair(),
  ])
  const answer = await postJson({
    host: options.host,
    port: options.port,
    socketPath: options.socketPath,
    serverName: options.serverName ?? options.host,
    ca,
    path: options.path,
    token: token.trim(),
    body: { publicKey: pair.publicKey },
    timeout: options.timeout ?? 10_000,
    signal,
  })
  const field = (name: string): string | undefined => {
    const value = (answer.body as Record<string, unknown> | null | undefined)?.[name]
    return typeof value === 'string' && value !== '' ? value : undefined
  }
  const cert = field('certificate')
  const bundle = field('ca')
  if (answer.status !== 200 || cert === undefined || bundle === undefined) {
    const why = field('message') ?? `HTTP ${answer.status}`
    throw new InsituError('CERTIFICATE_REFUSED', `the gateway gives no certificate: ${why}`, {
      status: answer.status === 401 ? 'UNAUTHENTICATED' : answer.status === 403 ? 'PERMISSION_DENIED' : 'UNAVAILABLE',
    })
  }
  return { cert, key: pair.privateKey, ca: bundle }
}
