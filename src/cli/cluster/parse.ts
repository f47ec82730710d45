import { UsageError } from '../../kernel/errors.ts'
import type { Toleration } from '../manifests/options.ts'

/** `90s`, `5m`, `1h` → milliseconds. @throws UsageError */
export function parseDuration(text: string): number {
  const [, number, unit] = /^(\d{1,6})(s|m|h)$/.exec(text) ?? []
  const factor = { s: 1000, m: 60_000, h: 3_600_000 }[unit ?? '']
  if (number === undefined || factor === undefined) {
    throw new UsageError(`"${text}" is not a duration`, { fix: 'write 90s, 5m or 1h' })
  }
  return Number(number) * factor
}

/** `KEY=VALUE` pairs. @throws UsageError */
export function parsePairs(texts: readonly string[], option: string): Record<string, string> {
  return Object.fromEntries(
    texts.map((text) => {
      const at = text.indexOf('=')
      if (at < 1) throw new UsageError(`${option} "${text}" is not KEY=VALUE`)
      return [text.slice(0, at), text.slice(at + 1)]
    }),
  )
}

/** As kubectl writes taints: `KEY`, `KEY=VALUE`, `KEY:EFFECT`, `KEY=VALUE:EFFECT`, or `*` for all. @throws UsageError */
export function parseToleration(text: string): Toleration {
  if (text === '*') return { operator: 'Exists' }
  const [, key, value, effect] = /^([^=:]+)(?:=([^:]*))?(?::(NoSchedule|PreferNoSchedule|NoExecute))?$/.exec(text) ?? []
  if (key === undefined) {
    throw new UsageError(`--toleration "${text}" is not KEY[=VALUE][:EFFECT]`, {
      fix: 'the effect is NoSchedule, PreferNoSchedule or NoExecute; * tolerates everything',
    })
  }
  return {
    key,
    ...(value === undefined ? { operator: 'Exists' as const } : { operator: 'Equal' as const, value }),
    ...(effect === undefined ? {} : { effect }),
  }
}

/** An absolute path below a directory of its own, so that it can be removed again. @throws UsageError */
export function parseHostPath(text: string, option: string): string {
  const path = text.replace(/\/+$/, '')
  if (!/^\/[^/]+(\/[^/]+)+$/.test(path) || path.split('/').some((part) => part === '..' || part === '.')) {
    throw new UsageError(`${option} "${text}" is not an absolute path such as /var/lib/buildkit`)
  }
  return path
}
