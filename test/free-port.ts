import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'

/** The ports that are given: above those that programs have by default, below those of Kubernetes' services. */
const [lowest, above] = [15_000, 30_000]

/**
 * Of so many ports one is for each of the processes that run tests at the same time: what is free for the one before its
 * program listens is free for the other one too.
 */
const lanes = 4
const lane = Number(process.env['VITEST_POOL_ID'] ?? 0) % lanes

/**
 * Where the kernel's own begin: it gives those to whoever asks for any port, also for each connection that somebody opens.
 * A port from there may be another's before the program that it is meant for has started.
 */
function kernelsBegin(): number {
  const range = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8')
  return Number(range.split(/\s+/)[0])
}

/** Ports of the loopback that were free a moment ago, all different, and none that the kernel gives by itself. */
export async function freePorts(count: number): Promise<number[]> {
  const room = Math.min(kernelsBegin(), above) - lowest
  if (!(room > 1000)) throw new Error('the kernel gives every port by itself (ip_local_port_range): none is for tests')
  const found = new Set<number>()
  for (let tries = 0; found.size < count; tries += 1) {
    if (tries > 1000 + count) throw new Error('no port is free')
    const port = lowest + Math.floor(Math.random() * Math.floor(room / lanes)) * lanes + lane
    if (await isFree(port)) found.add(port)
  }
  return [...found]
}

/** A port of the loopback that was free a moment ago. */
export async function freePort(): Promise<number> {
  const [port = 0] = await freePorts(1)
  return port
}

const isFree = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
