import { readFileSync } from 'node:fs'

/** The version of package.json, which lies two levels up from here in the checkout and in the image alike. */
export function version(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}
