import { optionPrefix } from '../api/names.ts'
import { InsituError } from '../kernel/errors.ts'

/** What a client asks of insitu, by options BuildKit does not know. */
export interface Hints {
  /** `insitu.node` */
  readonly node?: string
  /** `insitu.for` */
  readonly for?: string
  /** `insitu.deliver` */
  readonly deliver?: string
  /** `insitu.deliver-required` */
  readonly 'deliver-required'?: string
  /** `insitu.builds-per-node` */
  readonly 'builds-per-node'?: string
  /** `insitu.emulate` */
  readonly emulate?: string
  /** `insitu.proxy` */
  readonly proxy?: string
}

const known = ['node', 'for', 'deliver', 'deliver-required', 'builds-per-node', 'emulate', 'proxy'] as const
type Known = (typeof known)[number]
const isKnown = (name: string): name is Known => (known as readonly string[]).includes(name)

type Options = Readonly<Record<string, string>>

// buildctl has --opt; buildx reaches frontend options only through --build-arg.
const spellings = [optionPrefix, `build-arg:${optionPrefix}`]
const hintName = (key: string): string | undefined => {
  const prefix = spellings.find((p) => key.startsWith(p))
  return prefix === undefined ? undefined : key.slice(prefix.length)
}

/** The options without ours. The same object when there is none of ours in it. */
export function withoutHints<T extends Options>(options: T): T {
  const rest = Object.entries(options).filter(([key]) => hintName(key) === undefined)
  return rest.length === Object.keys(options).length ? options : (Object.fromEntries(rest) as T)
}

/**
 * Reads the hints of several places (frontend options, attributes of exporters).
 * @throws InsituError HINT for one that does not exist or that is said twice with different values.
 */
export function readHints(...places: readonly Options[]): Hints {
  const found: Partial<Record<Known, string>> = {}
  for (const [key, value] of places.flatMap((place) => Object.entries(place))) {
    const name = hintName(key)
    if (name === undefined) continue
    if (!isKnown(name)) {
      throw new InsituError('HINT', `there is no option ${optionPrefix}${name}`, {
        status: 'INVALID_ARGUMENT',
        fix: `use one of ${known.map((k) => optionPrefix + k).join(', ')}`,
      })
    }
    const before = found[name]
    if (before !== undefined && before !== value) {
      throw new InsituError('HINT', `${optionPrefix}${name} is said twice: "${before}" and "${value}"`, {
        status: 'INVALID_ARGUMENT',
        fix: 'say it once',
      })
    }
    found[name] = value
  }
  return found
}
