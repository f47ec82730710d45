import type { Logger } from '../../kernel/log.ts'
import { maskCredentials } from '../../kernel/log.ts'

const levels = { trace: 'trace', debug: 'debug', info: 'info', warning: 'warn', warn: 'warn', error: 'error' } as const

/**
 * One line of buildkitd's log (logrus JSON) as a line of ours: level and message in our names, every other field kept.
 * What is not JSON (a Go panic) stays as the message, at error level.
 */
export function logDaemonLine(log: Logger, line: string): void {
  if (line.trim() === '') return
  const fields = parse(line)
  if (!fields) {
    log.error(maskCredentials(line))
    return
  }
  const { level, msg, time: _, ...rest } = fields
  const name = typeof level === 'string' && level in levels ? levels[level as keyof typeof levels] : 'error'
  log[name](mask(rest), maskCredentials(typeof msg === 'string' ? msg : ''))
}

/** Texts without credentials, however deep they lie. */
function mask(value: unknown): unknown {
  if (typeof value === 'string') return maskCredentials(value)
  if (Array.isArray(value)) return value.map(mask)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, child]) => [key, mask(child)]))
}

function parse(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}
