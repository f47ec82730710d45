import pino from 'pino'

export type Logger = pino.Logger

export interface LogOptions {
  /** trace, debug, info, warn, error, silent. Default info. */
  readonly level?: string
  /** Fields on every line, e.g. `{ role: 'gateway' }`. */
  readonly bindings?: Record<string, unknown>
  /** Where lines go. Default standard error: standard output belongs to the command's result. */
  readonly destination?: pino.DestinationStream
}

/** JSON lines with ISO times and level names. Values under keys that can hold a secret are replaced. */
export function createLogger(options: LogOptions = {}): Logger {
  return pino(
    {
      level: options.level ?? 'info',
      base: options.bindings ?? {},
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: {
        paths: ['token', 'password', 'authorization', '*.token', '*.password', '*.authorization'],
        censor: '***',
      },
    },
    options.destination ?? pino.destination({ dest: 2, sync: true }),
  )
}

/**
 * Replaces the user information of every URL in a text by `***`: `http://u:p@proxy:3128` → `http://***@proxy:3128`.
 * The greedy match up to the last `@` before a slash also covers passwords that contain an unescaped `@`. It looks for
 * no scheme: texts come from builds, and one made of beginnings of schemes would take time that grows with its square.
 * @param most characters that are kept; what a cut leaves of a URL's user information is masked like the whole.
 */
export function maskCredentials(text: string, most = 16 * 1024): string {
  const kept = text.length <= most ? text : `${text.slice(0, most).replace(/:\/\/[^\s/]*$/, '://***')}…`
  return kept.replace(/:\/\/[^\s/]*@/g, '://***@')
}
