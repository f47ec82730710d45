import type { Env } from '../../kernel/config/env.ts'

const names = ['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY', 'ALL_PROXY', 'FTP_PROXY']

/** The proxy variables of an environment, either case, as they are there. Values may hold credentials. */
export function proxyVariables(env: Env): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).filter(
      (entry): entry is [string, string] => names.includes(entry[0].toUpperCase()) && entry[1] !== undefined,
    ),
  )
}
