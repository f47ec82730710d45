import { UsageError } from '../../kernel/errors.ts'

export type Address =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }

/**
 * `unix:///path`, `tcp://host:port`, `tcp://[::1]:port`, `tcp://:port` (all interfaces).
 * @throws UsageError
 */
export function parseAddress(text: string): Address {
  const wrong = (why: string): UsageError =>
    new UsageError(`"${text}" is not an address: ${why}`, { fix: 'write unix:///path/to.sock or tcp://HOST:PORT' })
  if (text.startsWith('unix://')) {
    const path = text.slice('unix://'.length)
    if (!path.startsWith('/')) throw wrong('the path of a unix socket must be absolute')
    // sun_path of sockaddr_un holds 108 bytes with the final zero.
    if (Buffer.byteLength(path) > 107) throw wrong('the path of a unix socket has at most 107 bytes')
    return { kind: 'unix', path }
  }
  const match = /^tcp:\/\/(\[[0-9a-fA-F:.]+\]|[^:[\]/]*):(\d{1,5})$/.exec(text)
  if (!match)
    throw wrong(text.startsWith('tcp://') ? 'it needs a host and a port' : 'it must start with unix:// or tcp://')
  const port = Number(match[2])
  if (port > 65_535) throw wrong('ports end at 65535')
  return { kind: 'tcp', host: (match[1] ?? '').replace(/^\[|\]$/g, ''), port }
}

export function formatAddress(address: Address): string {
  if (address.kind === 'unix') return `unix://${address.path}`
  return `tcp://${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`
}
