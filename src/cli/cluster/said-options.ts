import type { Command } from 'commander'
import { UsageError } from '../../kernel/errors.ts'

/** Options as they were written, by their long flag: `--node-selector` → `['pool=builds']`. */
export type SaidOptions = Readonly<Record<string, readonly string[]>>

/** What shapes an installation. The other options say whose cluster it is, what is shown, or write a ConfigMap that stays. */
export const shaping: readonly string[] = [
  '--image',
  '--image-pull-secret',
  '--mode',
  '--distribution',
  '--containerd-root',
  '--containerd-state',
  '--buildkit-root',
  '--replicas',
  '--allow-plaintext',
  '--http-proxy',
  '--https-proxy',
  '--no-proxy',
  '--node-selector',
  '--toleration',
  '--agent-priority-class',
  '--log-level',
]

/** The options of a parsed command line that shape an installation; defaults are not among them. */
export const saidOptions = (command: Command): SaidOptions =>
  Object.fromEntries(
    command.options.flatMap((option) => {
      const name = option.attributeName()
      const value: unknown = command.getOptionValue(name)
      if (!shaping.includes(option.long ?? '') || command.getOptionValueSource(name) !== 'cli') return []
      return [[option.long ?? '', Array.isArray(value) ? value.map(String) : [String(value)]]]
    }),
  )

/** As a command line has them, in an order that does not depend on who said what first. */
export const asArguments = (said: SaidOptions): string[] =>
  shaping.flatMap((flag) => (said[flag] ?? []).flatMap((value) => [flag, value]))

/** As somebody would type them in a shell. */
export const asText = (said: SaidOptions): string =>
  asArguments(said)
    .map((text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`))
    .join(' ')

/** How options are kept in an annotation. No option takes a secret: proxies with a password are refused. */
export const rememberOptions = (said: SaidOptions): string => JSON.stringify(asArguments(said))

/** Reads that again. What this version does not know, or somebody has spoilt, is left out. */
export function recallOptions(text: string | undefined): SaidOptions {
  const said: Record<string, string[]> = {}
  const list = words(text)
  for (let i = 0; i + 1 < list.length; i += 2) {
    const [flag = '', value = ''] = list.slice(i, i + 2)
    if (shaping.includes(flag)) said[flag] = [...(said[flag] ?? []), value]
  }
  return said
}

function words(text: string | undefined): string[] {
  try {
    const list: unknown = JSON.parse(text ?? '[]')
    return Array.isArray(list) ? list.map(String) : []
  } catch {
    return []
  }
}

/**
 * The options that are to hold. An option is one thing: whoever says `--toleration` says all of them.
 * @param before those of the installation that is there.
 * @throws UsageError when some of them would be lost and nobody has said what is to become of them.
 */
export function settleOptions(before: SaidOptions, now: SaidOptions, want: 'reuse' | 'reset' | undefined): SaidOptions {
  const left = Object.fromEntries(Object.entries(before).filter(([flag]) => !(flag in now)))
  if (want === 'reset' || Object.keys(left).length === 0) return now
  if (want === 'reuse') return { ...left, ...now }
  throw new UsageError(`this would drop options of the installation that is there: ${asText(left)}`, {
    fix: 'repeat them; or say --reuse-options to keep what is not repeated, --reset-options to drop it',
  })
}
