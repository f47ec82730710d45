import { count, duration, percent, section, size } from './config-values.ts'

/** The `[agent.disk]` table. All optional: absent follows the kubelet. */
export interface DiskConfig {
  /** Percent of the bytes that may be used before something is removed. */
  readonly highPercent?: number
  /** Percent at which removing stops. */
  readonly lowPercent?: number
  /** The same of the inodes. */
  readonly inodesHighPercent?: number
  readonly inodesLowPercent?: number
  /** Most bytes of build cache. */
  readonly maxCacheBytes?: number
}

/** The `[agent.images]` table. */
export interface ImagesConfig {
  /** So many of the newest built images of each repository are pinned, used or not. */
  readonly keep: number
  /** Seconds after its build (or its arrival) during which one of them is kept. */
  readonly keepFor: number
}

/** The `[agent]` table of insitu.toml. */
export interface AgentConfig {
  readonly disk: DiskConfig
  readonly images: ImagesConfig
}

export const defaultAgentConfig: AgentConfig = { disk: {}, images: { keep: 3, keepFor: 7 * 24 * 3600 } }

const percentages = ['highPercent', 'lowPercent', 'inodesHighPercent', 'inodesLowPercent'] as const

/**
 * Reads the `agent` table of a parsed insitu.toml. Tables of other roles are theirs to read.
 * @throws InsituError CONFIG_KEY, CONFIG_VALUE with the key's full name.
 */
export function agentConfig(table: Readonly<Record<string, unknown>>): AgentConfig {
  const agent = section(table['agent'], 'agent', ['disk', 'images'])
  const images = section(agent['images'], 'agent.images', ['keep', 'keepFor'])
  const disk = section(agent['disk'], 'agent.disk', [...percentages, 'maxCacheBytes'])
  const maxCacheBytes = size(disk['maxCacheBytes'], 'agent.disk.maxCacheBytes')
  const shares = percentages.map((key) => [key, percent(disk[key], `agent.disk.${key}`)] as const)
  return {
    images: {
      keep: count(images['keep'], 'agent.images.keep', defaultAgentConfig.images.keep),
      keepFor: duration(images['keepFor'], 'agent.images.keepFor', defaultAgentConfig.images.keepFor),
    },
    disk: {
      ...Object.fromEntries(shares.filter(([, value]) => value !== undefined)),
      ...(maxCacheBytes === undefined ? {} : { maxCacheBytes }),
    },
  }
}
