/** RFC 7541 appendix A: name, value, … from index 1 on. */
const fields = [
  [':authority', ''],
  [':method', 'GET'],
  [':method', 'POST'],
  [':path', '/'],
  [':path', '/index.html'],
  [':scheme', 'http'],
  [':scheme', 'https'],
  ...['200', '204', '206', '304', '400', '404', '500'].map((status) => [':status', status] as const),
  ['accept-charset', ''],
  ['accept-encoding', 'gzip, deflate'],
  ...[
    ...['accept-language', 'accept-ranges', 'accept', 'access-control-allow-origin', 'age', 'allow', 'authorization'],
    ...['cache-control', 'content-disposition', 'content-encoding', 'content-language', 'content-length'],
    ...['content-location', 'content-range', 'content-type', 'cookie', 'date', 'etag', 'expect', 'expires', 'from'],
    ...['host', 'if-match', 'if-modified-since', 'if-none-match', 'if-range', 'if-unmodified-since', 'last-modified'],
    ...['link', 'location', 'max-forwards', 'proxy-authenticate', 'proxy-authorization', 'range', 'referer', 'refresh'],
    ...['retry-after', 'server', 'set-cookie', 'strict-transport-security', 'transfer-encoding', 'user-agent', 'vary'],
    ...['via', 'www-authenticate'],
  ].map((name) => [name, ''] as const),
] as const

export interface Field {
  readonly name: string
  readonly value: string
}

/** Index 0 does not exist. */
export const staticTable: readonly Field[] = [
  { name: '', value: '' },
  ...fields.map(([name = '', value = '']) => ({ name, value })),
]

/** Indexes of whole fields, `name\0value`. */
export const staticFields: ReadonlyMap<string, number> = new Map(
  staticTable.flatMap(({ name, value }, i) => (i === 0 || value === '' ? [] : [[`${name}\0${value}`, i] as const])),
)

/** The first index of each name. */
export const staticNames: ReadonlyMap<string, number> = new Map(
  staticTable.flatMap(({ name }, i) => (i === 0 ? [] : [[name, i] as const])).toReversed(),
)
