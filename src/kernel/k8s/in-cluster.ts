import { readFile } from 'node:fs/promises'
import { request } from 'node:https'
import { join } from 'node:path'
import type { Env } from '../config/env.ts'
import { InsituError } from '../errors.ts'

export interface ClusterRequest {
  readonly method: 'GET' | 'PATCH' | 'POST' | 'PUT' | 'DELETE'
  /** `/api/v1/…` with its query. */
  readonly path: string
  /** Sent as JSON. */
  readonly body?: unknown
  /** Default `application/json`; for PATCH one of Kubernetes' patch types. */
  readonly contentType?: string
  /** Milliseconds. Default 10,000. */
  readonly timeout?: number
  readonly signal?: AbortSignal
}

export interface ClusterClient {
  /** @throws InsituError KUBERNETES_API with the server's message; `status` follows the HTTP code. */
  call(call: ClusterRequest): Promise<unknown>
}

/**
 * A client of the cluster's API for a pod that needs one call now and then: the full client costs 89 MB of memory on
 * every node. Token and CA are read for each call, because the kubelet renews the files.
 * @returns undefined outside a pod.
 */
export function inClusterClient(
  env: Env,
  directory = '/var/run/secrets/kubernetes.io/serviceaccount',
): ClusterClient | undefined {
  const host = env['KUBERNETES_SERVICE_HOST']
  const port = env['KUBERNETES_SERVICE_PORT_HTTPS'] ?? env['KUBERNETES_SERVICE_PORT'] ?? '443'
  if (!host) return undefined
  return {
    async call({ method, path, body, contentType = 'application/json', timeout = 10_000, signal }) {
      const [token, ca] = await Promise.all([
        readFile(join(directory, 'token'), 'utf8'),
        readFile(join(directory, 'ca.crt'), 'utf8'),
      ])
      const payload = body === undefined ? undefined : JSON.stringify(body)
      const limit = AbortSignal.timeout(timeout)
      return new Promise((resolve, reject) => {
        const fail = (message: string, cause?: unknown): void =>
          reject(new InsituError('KUBERNETES_API', `${method} ${path}: ${message}`, { status: 'UNAVAILABLE', cause }))
        const outgoing = request(
          {
            host,
            port,
            path,
            method,
            ca,
            agent: false,
            signal: signal ? AbortSignal.any([signal, limit]) : limit,
            headers: {
              authorization: `Bearer ${token.trim()}`,
              accept: 'application/json',
              ...(payload === undefined
                ? {}
                : { 'content-type': contentType, 'content-length': Buffer.byteLength(payload) }),
            },
          },
          (incoming) => {
            const chunks: Buffer[] = []
            incoming.on('data', (chunk: Buffer) => chunks.push(chunk))
            incoming.on('error', (error) => fail(error.message, error))
            incoming.on('end', () => {
              const text = Buffer.concat(chunks).toString('utf8')
              const code = incoming.statusCode ?? 0
              if (code >= 200 && code < 300) resolve(text === '' ? undefined : parse(text))
              else fail(`${code} ${messageOf(text)}`)
            })
          },
        )
        outgoing.on('error', (error) => fail(error.message, error))
        outgoing.end(payload)
      })
    },
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** The sentence of a Kubernetes Status object. */
function messageOf(text: string): string {
  const status = parse(text)
  const message = typeof status === 'object' && status !== null && 'message' in status ? status.message : undefined
  return typeof message === 'string' ? message : 'refused'
}
