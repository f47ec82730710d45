import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import { createServer as createHttp2Server } from 'node:http2'
import type { AddressInfo, Server as NetServer } from 'node:net'
import { afterEach, expect, test, vi } from 'vitest'
import { createLogger } from '../../kernel/log.ts'
import { collectorOf } from './collector.ts'
import { createSpanExporter } from './spans.ts'

const servers: NetServer[] = []
afterEach(() => servers.splice(0).forEach((server) => server.close()))

async function portOf(server: NetServer): Promise<number> {
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}

/** A collector that answers as `status` says, and what it was asked. */
function collector(status: () => number): { server: Server; asked: { url: string; headers: IncomingHttpHeaders }[] } {
  const asked: { url: string; headers: IncomingHttpHeaders }[] = []
  const server = createServer((request, response) => {
    request.resume().on('end', () => {
      asked.push({ url: request.url ?? '', headers: request.headers })
      response.writeHead(status()).end('{}')
    })
  })
  return { server, asked }
}

interface Line {
  readonly level: string
  readonly msg: string
  readonly fix?: string
  readonly status?: number
  readonly collector?: string
}

function exporterTo(env: Record<string, string>) {
  const lines: Line[] = []
  const logger = createLogger({
    level: 'debug',
    destination: { write: (line) => void lines.push(JSON.parse(line) as Line) },
  })
  const to = collectorOf(env)
  if (!to) throw new Error('no collector')
  return { exporter: createSpanExporter({ collector: to, logger }), lines }
}

test('the first failure and the first after a success are warnings with a fix, the others are not', async () => {
  let status = 404
  const { server, asked } = collector(() => status)
  const { exporter, lines } = exporterTo({ OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${await portOf(server)}` })
  const send = async (): Promise<void> => {
    const [before, told] = [asked.length, lines.length]
    exporter.export([])
    await vi.waitFor(() => expect(asked.length).toBe(before + 1))
    // What was taken leaves no line to wait for.
    await new Promise((resolve) => setTimeout(resolve, 50))
    await vi.waitFor(() => expect(lines.length).toBe(told + (status === 200 ? 0 : 1)))
  }
  await send()
  await send()
  status = 200
  await send()
  status = 503
  await send()
  await send()
  expect(lines.map((line) => [line.level, line.status])).toEqual([
    ['warn', 404],
    ['debug', 404],
    ['warn', 503],
    ['debug', 503],
  ])
  expect(lines[0]?.fix).toMatch(/OTEL_EXPORTER_OTLP_ENDPOINT.*4318/)
})

test('a port for gRPC does not fail in silence', async () => {
  const port = await portOf(createHttp2Server())
  const { exporter, lines } = exporterTo({ OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}` })
  exporter.export([])
  await vi.waitFor(() => expect(lines).toHaveLength(1))
  expect(lines[0]).toMatchObject({ level: 'warn', fix: expect.stringContaining('4317 is for gRPC') as string })
})

test('no password of an address and no header comes into the log', async () => {
  const { exporter, lines } = exporterTo({
    OTEL_EXPORTER_OTLP_ENDPOINT: 'http://me:secret@127.0.0.1:1',
    OTEL_EXPORTER_OTLP_HEADERS: 'authorization=Bearer%20top%0Asecret',
  })
  exporter.export([])
  await vi.waitFor(() => expect(lines).toHaveLength(1))
  expect(JSON.stringify(lines)).not.toContain('secret')
})

const base = 'OTEL_EXPORTER_OTLP_ENDPOINT'
const traces = 'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT'
test.each<[string, Record<string, string>, string | undefined]>([
  ['nothing', {}, undefined],
  ['an empty one', { [base]: '' }, undefined],
  ['the base', { [base]: 'http://c:4318' }, 'http://c:4318/v1/traces'],
  ['a base with a path', { [base]: 'http://c:4318/otlp/' }, 'http://c:4318/otlp/v1/traces'],
  ['the address of traces as it is', { [base]: 'http://c:1', [traces]: 'http://c:4318/in' }, 'http://c:4318/in'],
  ['an empty one of traces', { [base]: 'http://c:4318', [traces]: '' }, 'http://c:4318/v1/traces'],
])('where spans go: %s', (_, env, url) => {
  expect(collectorOf(env)?.url).toBe(url)
})

test('headers of the environment are sent, those of traces before those of all signals', async () => {
  const { server, asked } = collector(() => 200)
  const port = await portOf(server)
  const all = {
    [base]: `http://127.0.0.1:${port}`,
    OTEL_EXPORTER_OTLP_HEADERS: 'x-tenant=a%20b , authorization=Basic eA==',
  }
  exporterTo(all).exporter.export([])
  await vi.waitFor(() => expect(asked).toHaveLength(1))
  exporterTo({ ...all, OTEL_EXPORTER_OTLP_TRACES_HEADERS: 'x-tenant=c,no pair,=d' }).exporter.export([])
  await vi.waitFor(() => expect(asked).toHaveLength(2))
  expect(asked.map(({ url, headers }) => [url, headers['x-tenant'], headers.authorization])).toEqual([
    ['/v1/traces', 'a b', 'Basic eA=='],
    ['/v1/traces', 'c', undefined],
  ])
  expect(asked[1]?.headers['content-type']).toBe('application/json')
})
