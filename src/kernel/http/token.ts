/** Milliseconds; the least that the token specification gives a token whose answer does not say. */
const shortest = 60_000

export interface RegistryToken {
  readonly token: string
  /** Milliseconds. */
  readonly life: number
}

/**
 * Reads the answer of a registry's token server (distribution's token authentication). What cannot be read is undefined
 * and no error: the parser's own would quote the answer, and with it perhaps half a token.
 */
export function readToken(body: string): RegistryToken | undefined {
  try {
    const { token, access_token, expires_in } = JSON.parse(body) as Record<string, unknown>
    const found = token ?? access_token
    const life = typeof expires_in === 'number' && expires_in > 0 ? expires_in * 1000 : shortest
    return typeof found === 'string' && found !== '' ? { token: found, life } : undefined
  } catch {
    return undefined
  }
}
