import type { Env } from '../../kernel/config/env.ts'

/** Where spans go. */
export interface Collector {
  /** Takes OTLP over HTTP as JSON. */
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
}

const prefix = 'OTEL_EXPORTER_OTLP_'

/**
 * Where the environment says that traces go, as OpenTelemetry's own libraries read it (opentelemetry.io, "OTLP Exporter
 * Configuration"): an address of traces is used as it is, that of all signals is a base; an empty variable is none.
 */
export function collectorOf(env: Env): Collector | undefined {
  const base = env[`${prefix}ENDPOINT`]
  const url = env[`${prefix}TRACES_ENDPOINT`] || (base ? `${base.replace(/\/+$/, '')}/v1/traces` : undefined)
  if (url === undefined) return undefined
  return { url, headers: readHeaders(env[`${prefix}TRACES_HEADERS`] || env[`${prefix}HEADERS`] || '') }
}

/** `NAME=VALUE,…` with values as URLs have them. What cannot be a header is left out: an error would show its value. */
const readHeaders = (text: string): Record<string, string> =>
  Object.fromEntries(
    text.split(',').flatMap((pair) => {
      const at = pair.indexOf('=')
      try {
        return at < 0
          ? []
          : [...new Headers([[pair.slice(0, at).trim(), decodeURIComponent(pair.slice(at + 1).trim())]])]
      } catch {
        return []
      }
    }),
  )
