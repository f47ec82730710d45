import { Agent, request } from 'node:https'
import type { Endpoint } from '../../../src/kernel/k8s/endpoint.ts'

/** Requests at a time; the API server has two processors. */
export const parallel = 64

/**
 * How an API server that is only being filled is started: nothing looks at what is written, and nobody watches. It is
 * started again without these before anything is measured.
 */
const flags: readonly string[] = [
  '--watch-cache=false',
  '--enable-priority-and-fairness=false',
  '--max-requests-inflight=0',
  '--max-mutating-requests-inflight=0',
  `--disable-admission-plugins=${[
    ...['NamespaceLifecycle', 'LimitRanger', 'TaintNodesByCondition', 'PodSecurity', 'Priority', 'ResourceQuota'],
    ...['DefaultTolerationSeconds', 'DefaultStorageClass', 'StorageObjectInUseProtection', 'RuntimeClass'],
    ...['MutatingAdmissionPolicy', 'MutatingAdmissionWebhook', 'ValidatingAdmissionPolicy'],
    ...['ValidatingAdmissionWebhook', 'PodTopologyLabels', 'NodeDeclaredFeatureValidator'],
  ].join()}`,
]

/** Most of the memory of a server that is filled is garbage: it is collected five times more rarely than usual. */
export const filling = { flags, env: { GOGC: '500' } }

/** Writes objects as fast as one process can, and reads nothing of the answers but their status. */
export interface Writer {
  /** @throws Error with the server's answer; `already exists` is none. */
  write(method: 'POST' | 'PUT', path: string, body: object): Promise<void>
  close(): void
}

export async function createWriter(endpoint: Endpoint): Promise<Writer> {
  const { headers, ca } = (await endpoint.credentials()) as { headers: Record<string, string>; ca: string }
  const agent = new Agent({ keepAlive: true, maxSockets: parallel, ca })
  const { hostname: host, port } = new URL(endpoint.server)
  const common = {
    ...headers,
    'content-type': 'application/json',
    // Only the name comes back.
    accept: 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1',
  }
  const once = (method: string, path: string, body: string): Promise<void> =>
    new Promise((resolve, reject) => {
      const length = { 'content-length': Buffer.byteLength(body) }
      const options = { agent, host, port, method, path: `${path}?fieldValidation=Ignore` }
      const call = request({ ...options, headers: { ...common, ...length } }, (response) => {
        const { statusCode = 0 } = response
        if (statusCode < 300 || statusCode === 409) {
          response.resume()
          response.on('end', resolve)
          return
        }
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (chunk: string) => (text += chunk))
        response.on('end', () => reject(new Error(`${method} ${path}: ${statusCode} ${text.slice(0, 500)}`)))
      })
      call.on('error', reject)
      call.end(body)
    })
  return {
    write: (method, path, body) => once(method, path, JSON.stringify(body)),
    close: () => agent.destroy(),
  }
}
