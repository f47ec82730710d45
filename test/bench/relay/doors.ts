import { type ChildProcess, spawn } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { processEnv } from '../../../src/kernel/config/env.ts'
import type { Buildkitd } from '../../integration/fixtures/buildkitd.ts'
import { tool } from '../../integration/fixtures/paths.ts'
import { until } from '../../integration/fixtures/until.ts'
import { freePort } from '../../free-port.ts'

/** What stands between a client and the daemon. */
export interface Door {
  readonly name: string
  /** 127.0.0.1:port */
  readonly address: string
  /** The process whose tree is measured; undefined where there is no door. */
  readonly pid: number | undefined
  /** A second process of it. */
  readonly also?: number | undefined
  stop(): Promise<void>
}

export const insitu = fileURLToPath(new URL('../../../bin/insitu', import.meta.url))

/** Ours: one node, the daemon's socket. */
export async function openInsitu(daemon: Buildkitd): Promise<Door> {
  const args = ['gateway', '--listen', 'tcp://127.0.0.1:0', '--node', `bench=${daemon.address}`, '--log-level', 'info']
  const gateway = start(insitu, args)
  const port = await gatewayPort(gateway)
  return { name: 'insitu', address: `127.0.0.1:${port}`, pid: gateway.child.pid, stop: gateway.stop }
}

/** Where it listens for clients, from its log. */
export const gatewayPort = ({ child, output }: Pick<Started, 'child' | 'output'>): Promise<string> =>
  until('insitu to listen', () => {
    if (child.exitCode !== null) throw new Error(`insitu ended: ${output()}`)
    return /"addresses":\["tcp:\/\/127\.0\.0\.1:(\d+)"/.exec(output())?.[1]
  })

/** nginx with everything that would limit a long stream or a big body taken away. */
export async function openNginx(daemon: Buildkitd): Promise<Door> {
  const directory = await mkdtemp(join(tmpdir(), 'insitu-nginx-'))
  const port = await freePort()
  await mkdir(join(directory, 'tmp'))
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((kind) => `  ${kind}_temp_path ${directory}/tmp;`)
    .join('\n')
  await writeFile(
    join(directory, 'nginx.conf'),
    `daemon off;
user root;
pid ${directory}/pid;
error_log ${directory}/error.log;
worker_processes auto;
worker_rlimit_nofile 65536;
events { worker_connections 16384; }
http {
  access_log off;
${temporary}
  client_max_body_size 0;
  client_body_timeout 1h;
  keepalive_timeout 1h;
  keepalive_requests 1000000;
  http2_max_concurrent_streams 1000;
  http2_recv_buffer_size 1m;
  http2_body_preread_size 12m;
  upstream daemon { server unix:${daemon.socket}; keepalive 64; }
  server {
    listen 127.0.0.1:${port} http2;
    location / {
      grpc_pass grpc://daemon;
      grpc_buffer_size 64k;
      grpc_read_timeout 1h;
      grpc_send_timeout 1h;
    }
  }
}
`,
  )
  return serve('nginx', needed('nginx'), ['-p', directory, '-c', join(directory, 'nginx.conf')], port, directory)
}

/** haproxy, HTTP/2 on both sides. */
export async function openHaproxy(daemon: Buildkitd): Promise<Door> {
  const directory = await mkdtemp(join(tmpdir(), 'insitu-haproxy-'))
  const port = await freePort()
  const config = join(directory, 'haproxy.cfg')
  await writeFile(
    config,
    `global
  maxconn 8000
  tune.bufsize 65536
  tune.h2.initial-window-size 12582912
  tune.h2.max-concurrent-streams 1000
defaults
  mode http
  timeout connect 10s
  timeout client 1h
  timeout server 1h
  timeout http-request 1h
frontend door
  bind 127.0.0.1:${port} proto h2
  default_backend daemon
backend daemon
  server one unix@${daemon.socket} proto h2
`,
  )
  return serve('haproxy', needed('haproxy'), ['-db', '-f', config], port, directory)
}

const needed = (name: string): string => `/usr/sbin/${name}`

async function serve(
  name: string,
  program: string,
  args: readonly string[],
  port: number,
  directory: string,
): Promise<Door> {
  const { child, output, stop } = start(program, args)
  await until(`${name} to listen`, async () => {
    if (child.exitCode !== null) throw new Error(`${name} ended: ${output()}`)
    return (await readFile('/proc/net/tcp', 'utf8')).includes(
      `:${port.toString(16).toUpperCase().padStart(4, '0')} 00000000:0000 0A`,
    )
  })
  return {
    name,
    address: `127.0.0.1:${port}`,
    pid: child.pid,
    async stop() {
      await stop()
      await rm(directory, { recursive: true, force: true })
    },
  }
}

export interface Started {
  readonly child: ChildProcess
  readonly output: () => string
  readonly stop: () => Promise<void>
}

/** A process that ends with ours or when it is told to. */
export function start(program: string, args: readonly string[], env?: Readonly<Record<string, string>>): Started {
  const own = env && { PATH: processEnv()['PATH'], HOME: '/nonexistent', ...env }
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], ...(own ? { env: own } : {}) })
  const chunks: string[] = []
  child.on('error', (error) => {
    const hint = program.startsWith('/usr/sbin/') ? ': scripts/setup.sh installs it' : ''
    chunks.push(`${error.message}${hint}`)
  })
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      chunks.push(chunk.toString())
      if (chunks.length > 200) chunks.splice(1, 100)
    })
  }
  const ended = new Promise<void>((resolve) => {
    child.once('close', () => resolve())
    child.once('error', () => resolve())
  })
  const stop = async (): Promise<void> => {
    const timer = setTimeout(() => child.kill('SIGKILL'), 5000)
    child.kill('SIGTERM')
    // A gateway that still serves does not wait for a second one.
    setTimeout(() => child.kill('SIGTERM'), 200).unref()
    await ended
    clearTimeout(timer)
  }
  return { child, output: () => chunks.join(''), stop }
}

/** Holds every byte of a connection back by half a round trip in each direction, in a process of its own. */
export async function openDelay(target: string, milliseconds: number): Promise<Omit<Door, 'name' | 'pid' | 'also'>> {
  const { child, output, stop } = start(tool('load'), ['delay', '-target', target, '-rtt', `${milliseconds}ms`])
  const port = await until('the delay to listen', () => {
    if (child.exitCode !== null) throw new Error(`load ended: ${output()}`)
    return /"port":(\d+)/.exec(output())?.[1]
  })
  return { address: `127.0.0.1:${port}`, stop }
}
