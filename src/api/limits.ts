import { count, duration, section, wrong } from './config-values.ts'

/** The `[gateway.limits]` table: what a client may ask of the connection itself. */
export interface LimitsConfig {
  /** Bytes of a message that is decoded; streams that are relayed have no limit. */
  readonly messageSize: number
  /** Bytes of the messages that are decoded for all open calls of an identity. */
  readonly messagesPerIdentity: number
  /** Bytes of the header list of a call, counted as HTTP/2 does: names, values and 32 for each field. */
  readonly headerSize: number
  /** Calls at once on one connection. */
  readonly streamsPerConnection: number
  readonly connectionsPerIdentity: number
  /** Connections at once whose TLS or HTTP/2 handshake is not over. */
  readonly pendingHandshakes: number
  /** Seconds for each of the two. */
  readonly handshakeTimeout: number
  /** Seconds without a byte from a client after which it is asked for one; 0: never. */
  readonly keepalive: number
  /** Seconds it has to answer. */
  readonly keepaliveTimeout: number
}

export const defaultLimits: LimitsConfig = {
  messageSize: 64 << 20,
  messagesPerIdentity: 256 << 20,
  headerSize: 256 << 10,
  streamsPerConnection: 1000,
  connectionsPerIdentity: 2000,
  pendingHandshakes: 1000,
  handshakeTimeout: 10,
  keepalive: 30,
  keepaliveTimeout: 20,
}

/** @throws InsituError CONFIG_KEY, CONFIG_VALUE */
export function readLimits(value: unknown, base: LimitsConfig): LimitsConfig {
  const name = (key: string): string => `gateway.limits.${key}`
  const table = section(value, 'gateway.limits', Object.keys(defaultLimits))
  const number = (key: keyof LimitsConfig): number => count(table[key], name(key), base[key])
  const seconds = (key: keyof LimitsConfig): number => duration(table[key], name(key), base[key])
  const bytes = (key: keyof LimitsConfig): number => size(table[key], name(key), base[key])
  return {
    messageSize: bytes('messageSize'),
    messagesPerIdentity: bytes('messagesPerIdentity'),
    headerSize: bytes('headerSize'),
    streamsPerConnection: number('streamsPerConnection'),
    connectionsPerIdentity: number('connectionsPerIdentity'),
    pendingHandshakes: number('pendingHandshakes'),
    handshakeTimeout: seconds('handshakeTimeout'),
    keepalive: seconds('keepalive'),
    keepaliveTimeout: seconds('keepaliveTimeout'),
  }
}

const units: Readonly<Record<string, number>> = { KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 }

function size(value: unknown, name: string, fallback: number): number {
  if (value === undefined) return fallback
  const match = typeof value === 'string' ? /^([1-9]\d{0,5})(KiB|MiB|GiB)$/.exec(value) : null
  const bytes = match ? Number(match[1]) * units[match[2]!]! : 0
  if (bytes === 0 || bytes > 2 ** 31 - 1) throw wrong(name, 'a size such as "256KiB" or "64MiB", below 2 GiB')
  return bytes
}
