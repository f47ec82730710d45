/** What a registry wants to see, RFC 9110 section 11.6.1 and the distribution spec's token authentication. */
export type Challenge =
  | { readonly scheme: 'bearer'; readonly realm: string; readonly service: string; readonly scope: string | undefined }
  | { readonly scheme: 'basic' }

/** Reads a `www-authenticate` header; Bearer is taken before Basic. */
export function readChallenge(header: string | undefined): Challenge | undefined {
  if (header === undefined) return undefined
  const bearer = /\bbearer\s+(.*)$/is.exec(header)?.[1]
  if (bearer !== undefined) {
    const fields = new Map<string, string>()
    for (const [, key = '', quoted, bare] of bearer.matchAll(/\b(\w+)\s*=\s*(?:"([^"]*)"|([^\s,"]+))/g)) {
      if (!fields.has(key.toLowerCase())) fields.set(key.toLowerCase(), quoted ?? bare ?? '')
    }
    const realm = fields.get('realm')
    if (realm) return { scheme: 'bearer', realm, service: fields.get('service') ?? '', scope: fields.get('scope') }
  }
  return /\bbasic\b/i.test(header) ? { scheme: 'basic' } : undefined
}
