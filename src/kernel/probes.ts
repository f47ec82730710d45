import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Probes {
  readonly port: number
  close(): Promise<void>
}

export interface ProbeOptions {
  readonly host?: string
  /** 0 takes a free one. */
  readonly port: number
  /** Why the process is not ready, or undefined when it is. Called for every /readyz. */
  readonly notReady: () => string | undefined
  /** What is wrong although the process is ready: said on /readyz, which stays 200. */
  readonly detail?: () => string | undefined
  /** Text for /metrics in the Prometheus exposition format. */
  readonly metrics?: () => string | Promise<string>
}

/** Serves /livez (200 while the process runs), /readyz (200 or 503 with the reason) and /metrics. */
export async function serveProbes(options: ProbeOptions): Promise<Probes> {
  const server = createServer((request, response) => {
    const answer = (status: number, body: string): void => {
      response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' }).end(body)
    }
    if (request.url === '/livez') return answer(200, 'ok\n')
    if (request.url === '/readyz') {
      const reason = options.notReady()
      return answer(reason === undefined ? 200 : 503, `${reason ?? options.detail?.() ?? 'ok'}\n`)
    }
    if (request.url === '/metrics' && options.metrics) {
      Promise.resolve(options.metrics()).then(
        (text) => answer(200, text),
        () => answer(500, 'metrics failed\n'),
      )
      return
    }
    answer(404, 'not found\n')
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port, options.host, resolve)
  })
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
