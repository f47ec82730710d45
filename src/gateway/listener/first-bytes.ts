/** RFC 9113, section 3.4. */
const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1')
/** TLS record type `handshake`, RFC 8446 section 5.1. */
const tlsHandshake = 0x16

/** What a client's first bytes are the beginning of. `more`: too few to tell. */
export function looksLike(bytes: Uint8Array): 'http2' | 'tls' | 'other' | 'more' {
  if (bytes.length === 0) return 'more'
  if (bytes[0] === tlsHandshake) return 'tls'
  const length = Math.min(bytes.length, preface.length)
  if (!preface.subarray(0, length).equals(bytes.subarray(0, length))) return 'other'
  return bytes.length >= preface.length ? 'http2' : 'more'
}
