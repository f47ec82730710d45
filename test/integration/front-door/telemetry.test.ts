import { randomBytes } from 'node:crypto'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { paths } from '../../../src/buildkit/methods.ts'
import { grpcConnection } from '../../../src/kernel/grpc/connection.ts'
import { type Client, startClient } from '../fixtures/clients.ts'
import { type Buildkitd, startBuildkitd } from '../fixtures/buildkitd.ts'
import { createWorkspace, type Workspace } from '../fixtures/context.ts'
import { until } from '../fixtures/until.ts'

// What an operator sees: the real program with its metrics, log lines and traces.

let work: Workspace
let daemon: Buildkitd
let gateway: Client
let address: string
let metrics: string
const received: { resourceSpans: { scopeSpans: { spans: Span[] }[] }[] }[] = []

interface Span {
  readonly name: string
  readonly traceId: string
  readonly parentSpanId: string
  readonly spanId: string
}

/** A span as buildkitd keeps it with its record of a build. */
interface RecordedSpan {
  readonly Name: string
  readonly SpanContext: { readonly TraceID: string; readonly SpanID: string }
  readonly Parent: { readonly SpanID: string }
}

const collector = createServer((request, response) => {
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => {
    received.push(JSON.parse(Buffer.concat(chunks).toString('utf8')) as (typeof received)[number])
    response.end('{}')
  })
})

beforeAll(async () => {
  work = await createWorkspace()
  daemon = await startBuildkitd()
  const collects = await new Promise<number>((resolve) =>
    collector.listen(0, '127.0.0.1', () => resolve((collector.address() as { port: number }).port)),
  )
  address = `unix://${join(await work.directory(), 'gateway.sock')}`
  gateway = startClient(
    join(import.meta.dirname, '../../../bin/insitu'),
    ['gateway', '--listen', address, '--node', `one=${daemon.address}`, '--probes', '0'],
    { env: { OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${collects}` } },
  )
  await until('the gateway to listen', () => gateway.output().includes('"listening"'))
  const [, port] = /"port":(\d+),"msg":"serving probes"/.exec(gateway.output()) ?? []
  metrics = `http://127.0.0.1:${port}/metrics`
})
afterAll(async () => {
  gateway?.kill('SIGKILL')
  await gateway?.ended
  collector.close()
  await daemon?.stop()
  await work?.remove()
})

/** The trace of whoever runs the client, a CI job say: W3C Trace Context, which buildctl takes from its environment. */
const job = { trace: randomBytes(16).toString('hex'), span: randomBytes(8).toString('hex') }

const build = (context: string, ...args: string[]) =>
  startClient(
    'buildctl',
    [
      ...['--addr', address, 'build', '--progress=plain', '--frontend=dockerfile.v0'],
      ...[`--local=context=${context}`, `--local=dockerfile=${context}`, ...args],
    ],
    { env: { TRACEPARENT: `00-${job.trace}-${job.span}-01` } },
  ).ended

const lastBuild = (): Record<string, unknown> =>
  JSON.parse(
    gateway
      .output()
      .split('\n')
      .filter((line) => line.includes('"build ended"'))
      .at(-1) ?? '{}',
  ) as Record<string, unknown>

test('a build leaves one line, counts, and spans below its client’s', async () => {
  const context = await work.context('RUN echo hello\n')
  const tar = join(await work.directory(), 'out.tar')
  const result = await build(context, `--output=type=oci,dest=${tar}`, '--opt=platform=linux/amd64')
  expect(result, result.output).toMatchObject({ exitCode: 0 })
  expect(lastBuild()).toMatchObject({
    caller: 'local',
    client: expect.stringContaining('grpc-go') as string,
    node: 'one',
    rule: 'anywhere',
    reason: 'the only node',
    targets: ['one'],
    platforms: ['linux/amd64'],
    exporters: ['oci'],
    outcome: 'ok',
    seconds: expect.any(Number) as number,
    waitSeconds: expect.any(Number) as number,
    traceId: job.trace,
  })
  const failed = await build(await work.context('RUN exit 3\n'))
  expect(failed.exitCode).toBe(1)
  expect(lastBuild()).toMatchObject({ outcome: 'failed', error: expect.stringContaining('exit code: 3') as string })
  const refused = await build(context, '--opt=insitu.node=nowhere')
  expect(refused.exitCode).toBe(1)

  const text = await (await fetch(metrics)).text()
  expect(text).toContain('insitu_builds_total{outcome="ok",rule="anywhere"} 1')
  expect(text).toContain('insitu_builds_total{outcome="failed",rule="anywhere"} 1')
  expect(text).toContain('insitu_builds_total{outcome="refused",rule="none"} 1')
  expect(text).toContain('insitu_placements_total{rule="anywhere"} 2')
  expect(text).toContain('insitu_build_duration_seconds_count{outcome="ok"} 1')
  for (const outcome of ['ok', 'failed'])
    expect(text).toContain(`insitu_build_wait_seconds_count{outcome="${outcome}"} 1`)
  expect(text).not.toContain('insitu_build_wait_seconds_count{outcome="refused"}')
  expect(text).toMatch(/insitu_errors_total\{code="NODE_UNKNOWN"\} [1-9]/)
  expect(text).toContain('insitu_builds_running 0')
  // The context went there: at least busybox.
  expect(Number(/insitu_relay_bytes_total\{direction="to_daemon"\} (\d+)/.exec(text)?.[1])).toBeGreaterThan(500_000)
  expect(Number(/insitu_relay_bytes_total\{direction="from_daemon"\} (\d+)/.exec(text)?.[1])).toBeGreaterThan(500_000)
})

test('clients are counted while they are connected', async () => {
  const connected = async (): Promise<string | undefined> =>
    /^insitu_client_connections (\d+)$/m.exec(await (await fetch(metrics)).text())?.[1]
  await expect.poll(connected, { timeout: 10_000 }).toBe('0')
  const client = grpcConnection(address.slice('unix://'.length))
  try {
    await client.unary({ method: paths.healthCheck })
    expect(await connected()).toBe('1')
  } finally {
    client.close()
  }
  await expect.poll(connected, { timeout: 10_000 }).toBe('0')
})

test('the spans reach the collector of the environment and the daemon’s record of the build', async () => {
  const spans = await until('the spans', () => {
    const all = received.flatMap((r) => r.resourceSpans.flatMap((s) => s.scopeSpans.flatMap((one) => one.spans)))
    return all.length >= 2 ? all : undefined
  })
  const [whole, place] = spans
  expect(whole).toMatchObject({ name: 'insitu build', traceId: job.trace })
  expect(place).toMatchObject({ name: 'insitu place and queue', parentSpanId: whole?.spanId, traceId: whole?.traceId })
  const records = await startClient('buildctl', ['--addr', daemon.address, 'debug', 'histories', '--format={{json .}}'])
    .ended
  const traces = await until('the trace of the record', async () => {
    const { output } = await startClient('buildctl', [
      ...['--addr', daemon.address, 'debug', 'histories', '--format={{json .}}'],
    ]).ended
    const digests = [...output.matchAll(/"trace":\{[^}]*"digest":"(sha256:[0-9a-f]{64})"/g)].map((match) => match[1])
    return digests.length >= 2 ? digests : undefined
  })
  expect(records.exitCode).toBe(0)
  const blobs = await Promise.all(
    traces.map((digest) => startClient('buildctl', ['--addr', daemon.address, 'debug', 'get', digest ?? '']).ended),
  )
  const own = blobs.filter(({ output }) => output.includes('insitu place and queue'))
  expect(own.length).toBeGreaterThan(0)
  // One JSON object after the other, each over many lines.
  const recorded = own
    .flatMap(({ output }) => output.split(/^(?=\{)/m))
    .filter((text) => text.startsWith('{'))
    .map((text) => JSON.parse(text) as RecordedSpan)
  // The client's call of Solve is above ours and above the daemon's own.
  const solve = recorded.find(
    ({ Name, Parent }) => Name === 'moby.buildkit.v1.Control/Solve' && Parent.SpanID === whole?.parentSpanId,
  )
  expect(solve?.SpanContext.TraceID).toBe(job.trace)
  expect(recorded.find(({ SpanContext }) => SpanContext.SpanID === whole?.spanId)?.Name).toBe('insitu build')
})
