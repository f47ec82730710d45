import { configMaps } from '../../api/names.ts'
import { parseToml } from '../../kernel/config/toml.ts'
import { UsageError } from '../../kernel/errors.ts'
import type { KubernetesObject } from '../../kernel/k8s/objects.ts'
import { plaintextToml } from '../manifests/gateway.ts'
import { isOurs } from './checks.ts'

export interface ConfigMap extends KubernetesObject {
  readonly data?: Readonly<Record<string, string>>
}

const textOf = (map: ConfigMap | undefined): string | undefined => map?.data?.['insitu.toml']

/** The ranges of an insitu.toml that install has written and nobody has changed; undefined for any other. */
export function writtenRanges(map: ConfigMap | undefined): readonly string[] | undefined {
  const text = textOf(map)
  if (map === undefined || text === undefined || !isOurs(map)) return undefined
  const ranges = rangesIn(text)
  return ranges.length > 0 && plaintextToml(ranges) === text ? ranges : undefined
}

export interface PlaintextPlan {
  /** To be written; empty: nothing is. */
  readonly ranges: readonly string[]
  /** What install wrote before is no longer wanted. */
  readonly remove: boolean
  /** The text that is there and stays. */
  readonly stays: string | undefined
}

/**
 * What becomes of the ConfigMap insitu.toml, which may be the user's own.
 * @param wanted of `--allow-plaintext`.
 * @throws UsageError when the user's own would have to be replaced.
 */
export function planPlaintext(map: ConfigMap | undefined, wanted: readonly string[]): PlaintextPlan {
  if (map === undefined) return { ranges: wanted, remove: false, stays: undefined }
  if (writtenRanges(map)) return { ranges: wanted, remove: wanted.length === 0, stays: undefined }
  const text = textOf(map)
  const has = rangesIn(text ?? '')
  if (wanted.every((range) => has.includes(range))) return { ranges: [], remove: false, stays: text }
  const name = `${map.metadata?.namespace}/${configMaps.insitu}`
  throw new UsageError(`--allow-plaintext would replace ConfigMap ${name}, which install has not written`, {
    fix: `leave the option out and add to that file:\n    ${plaintextToml(wanted).trim().replaceAll('\n', '\n    ')}`,
  })
}

function rangesIn(text: string): string[] {
  try {
    const table = parseToml(text, configMaps.insitu) as { gateway?: { plaintext?: { cidrs?: unknown } } }
    const ranges = table.gateway?.plaintext?.cidrs
    return Array.isArray(ranges) ? ranges.map(String) : []
  } catch {
    // Whoever reads it will say what is wrong with it.
    return []
  }
}
