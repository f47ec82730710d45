import { parseReference } from '../../buildkit/reference.ts'
import { describeError, UsageError } from '../../kernel/errors.ts'
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

/** `KEY=VALUE` pairs of labels. @throws UsageError */
export function parseLabels(texts: readonly string[], option: string): Record<string, string> {
  return Object.fromEntries(
    texts.map((text) => {
      const at = text.indexOf('=')
      if (at < 1) throw new UsageError(`${option} "${text}" is not KEY=VALUE`)
      const [key, value] = [text.slice(0, at), text.slice(at + 1)]
      if (!isLabel(key, value)) throw new UsageError(`${option} "${text}" is not what a label can be`)
      return [key, value]
    }),
  )
}

const word = /^[a-z0-9]([-\w.]{0,61}[a-z0-9])?$/i

/** Whether this can be a label, or a taint: the key may have a domain before it, the value may be empty. */
function isLabel(key: string, value: string): boolean {
  const [name = '', domain, ...more] = key.split('/').toReversed()
  return (
    more.length === 0 &&
    word.test(name) &&
    (domain === undefined || isObjectName(domain)) &&
    (value === '' || word.test(value))
  )
}

/** Whether an object can have this name: a DNS subdomain. */
export const isObjectName = (text: string): boolean =>
  text.length <= 253 && /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/.test(text)

/** As kubectl writes taints: `KEY`, `KEY=VALUE`, `KEY:EFFECT`, `KEY=VALUE:EFFECT`, or `*` for all. @throws UsageError */
export function parseToleration(text: string): Toleration {
  if (text === '*') return { operator: 'Exists' }
  const [, key, value, effect] = /^([^=:]+)(?:=([^:]*))?(?::(NoSchedule|PreferNoSchedule|NoExecute))?$/.exec(text) ?? []
  if (key === undefined) {
    throw new UsageError(`--toleration "${text}" is not KEY[=VALUE][:EFFECT]`, {
      fix: 'the effect is NoSchedule, PreferNoSchedule or NoExecute; * tolerates everything',
    })
  }
  if (!isLabel(key, value ?? '')) throw new UsageError(`--toleration "${text}" is not what a label can be`)
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

/** The directory of a daemon on this machine. @throws UsageError for one that is relative, and for `/`, below which everything is. */
export function parseRoot(text: string): string {
  const path = text.replace(/\/+$/, '')
  if (!path.startsWith('/') || path.split('/').some((part) => part === '..' || part === '.')) {
    throw new UsageError(`--root "${text}" is not an absolute path such as /var/lib/buildkit`)
  }
  return path
}

/** What clients may call an image. @param option before the message, if it is one. @throws UsageError */
export function parseImageName(text: string, option = ''): string {
  try {
    parseReference(text)
    return text
  } catch (error) {
    throw new UsageError(`${option}${describeError(error)}`)
  }
}
