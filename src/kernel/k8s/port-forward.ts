import { chmod } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { PassThrough, Writable } from 'node:stream'
import { PortForward } from '@kubernetes/client-node'
import { describeError } from '../errors.ts'
import type { Endpoint } from './endpoint.ts'
import { socketConfig } from './socket-config.ts'

export interface PortForwardOptions {
  readonly endpoint: Endpoint
  readonly namespace: string
  /** The pod to reach; asked for each connection, so that a pod that went away is replaced. */
  readonly pod: () => Promise<string>
  readonly port: number
  /** Path of the unix socket to listen on: nobody else may write to its directory or connect. */
  readonly socket: string
  /** Told why a connection failed. */
  readonly onFailure: (message: string) => void
}

export interface Forwarding {
  close(): Promise<void>
}

/** Bytes that wait for the API server before a sender is stopped, and milliseconds until it is asked again. */
const [pending, pause] = [1 << 20, 5]

interface Channel {
  readonly bufferedAmount: number
  on(event: 'close' | 'error', listener: () => void): void
  close(): void
}

/**
 * Forwards connections to a port of a pod through the API server, as `kubectl port-forward` does, by WebSocket:
 * https://kubernetes.io/docs/reference/using-api/streaming. One WebSocket for each connection.
 */
export async function forwardPort(options: PortForwardOptions): Promise<Forwarding> {
  const forward = new PortForward(socketConfig(options.endpoint))
  const open = new Set<Socket>()
  const serve = async (socket: Socket): Promise<void> => {
    const input = new PassThrough()
    const output = new Writable({
      write(chunk: Buffer, _, done) {
        if (socket.destroyed) return done()
        socket.write(chunk, () => done())
      },
    })
    const errors = new Writable({
      write(chunk: Buffer, _, done) {
        const text = chunk.toString('utf8').trim()
        // The channel begins with the port's number, and then with nothing.
        if (text !== '') {
          options.onFailure(text)
          socket.destroy()
        }
        done()
      },
    })
    const opened = await forward.portForward(
      options.namespace,
      await options.pod(),
      [options.port],
      output,
      errors,
      input,
    )
    const channel = (typeof opened === 'function' ? opened() : opened) as Channel | null
    if (!channel || socket.destroyed) return channel?.close()
    channel.on('close', () => socket.destroy())
    channel.on('error', () => socket.destroy())
    socket.once('close', () => channel.close())
    // The library sends what it gets at once, however much is waiting already.
    socket.on('data', (chunk) => {
      input.write(chunk)
      if (channel.bufferedAmount < pending) return
      socket.pause()
      const timer = setInterval(() => {
        if (channel.bufferedAmount >= pending && !socket.destroyed) return
        clearInterval(timer)
        socket.resume()
      }, pause)
    })
  }
  const server: Server = createServer((socket) => {
    open.add(socket)
    socket.on('error', () => socket.destroy())
    socket.once('close', () => open.delete(socket))
    serve(socket).catch((error: unknown) => {
      options.onFailure(describeError(error))
      socket.destroy()
    })
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.socket, resolve)
  })
  await chmod(options.socket, 0o600)
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const socket of open) socket.destroy()
      }),
  }
}
