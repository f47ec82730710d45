import { age, bool, count, percent, roleTable, section, size, texts, wrong } from './config-values.ts'

/** The `[agent.disk]` table. All optional: absent follows the kubelet. */
export interface DiskConfig {
  /** False: no kubelet deletes images or evicts pods of this machine, so that it may be filled further. */
  readonly followKubelet?: boolean
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

/** The `[agent.emulators]` table. */
export interface EmulatorsConfig {
  /** Platforms for which the agent may register an emulator where the host has none. */
  readonly platforms: readonly string[]
  /** setuid programs get their rights, and the emulator with them (flag C of binfmt_misc). */
  readonly credentials: boolean
}

/** The `[agent.mirror]` table. */
export interface MirrorConfig {
  /** What a node's containerd gets from other nodes: images that insitu built, or what registries give to everybody as well. */
  readonly serve: 'built' | 'all'
  /**
   * Registries for whose names builds on this node ask the cluster first, besides those of images that it has. Empty: FROM
   * finds built images on their own nodes only.
   */
  readonly bases: readonly string[]
}

/** The `[agent]` table of insitu.toml. */
export interface AgentConfig {
  readonly disk: DiskConfig
  readonly images: ImagesConfig
  readonly mirror: MirrorConfig
  readonly emulators: EmulatorsConfig
}

/** What emulators exist for; a variant of an architecture is run by the emulator of all of them. */
export const emulatedPlatforms = [
  ...['linux/amd64', 'linux/arm64', 'linux/arm/v7', 'linux/arm/v6', 'linux/386', 'linux/riscv64'],
  ...['linux/ppc64le', 'linux/s390x', 'linux/mips64le', 'linux/loong64'],
] as const

export const defaultAgentConfig: AgentConfig = {
  disk: {},
  images: { keep: 3, keepFor: 7 * 24 * 3600 },
  mirror: { serve: 'built', bases: ['docker.io'] },
  emulators: { platforms: emulatedPlatforms, credentials: false },
}

const percentages = ['highPercent', 'lowPercent', 'inodesHighPercent', 'inodesLowPercent'] as const

/**
 * Reads the `agent` table of a parsed insitu.toml. Tables of other roles are theirs to read.
 * @throws InsituError CONFIG_KEY, CONFIG_VALUE with the key's full name.
 */
export function agentConfig(table: Readonly<Record<string, unknown>>): AgentConfig {
  const agent = roleTable(table, 'agent', ['disk', 'images', 'mirror', 'emulators'])
  const images = section(agent['images'], 'agent.images', ['keep', 'keepFor'])
  const mirror = section(agent['mirror'], 'agent.mirror', ['serve', 'bases'])
  const disk = section(agent['disk'], 'agent.disk', [...percentages, 'followKubelet', 'maxCacheBytes'])
  const maxCacheBytes = size(disk['maxCacheBytes'], 'agent.disk.maxCacheBytes')
  const emulators = section(agent['emulators'], 'agent.emulators', ['platforms', 'credentials'])
  const shares = percentages.map((key) => [key, percent(disk[key], `agent.disk.${key}`)] as const)
  const known: readonly string[] = emulatedPlatforms
  return {
    emulators: {
      platforms: texts(emulators['platforms'], 'agent.emulators.platforms', emulatedPlatforms, {
        test: (text) => known.includes(text),
        what: `platforms out of ${known.join(', ')}`,
      }),
      credentials: bool(emulators['credentials'], 'agent.emulators.credentials', false),
    },
    images: {
      keep: count(images['keep'], 'agent.images.keep', defaultAgentConfig.images.keep),
      keepFor: age(images['keepFor'], 'agent.images.keepFor', defaultAgentConfig.images.keepFor),
    },
    mirror: {
      serve: serveOf(mirror['serve']),
      bases: texts(mirror['bases'], 'agent.mirror.bases', defaultAgentConfig.mirror.bases, {
        test: (text) => registryHost.test(text),
        what: 'registries as names of images have them, such as "docker.io" or "registry.example:5000"',
      }),
    },
    disk: {
      ...Object.fromEntries(shares.filter(([, value]) => value !== undefined)),
      ...(bool(disk['followKubelet'], 'agent.disk.followKubelet', true) ? {} : { followKubelet: false }),
      ...(maxCacheBytes === undefined ? {} : { maxCacheBytes }),
    },
  }
}

/** What makes the first element of a name a host (distribution's reference grammar): a dot, a port, or localhost. */
const registryHost = /^(?:[a-z0-9-]+(?:\.[a-z0-9-]+)+(?::\d+)?|[a-z0-9-]+:\d+|localhost)$/

function serveOf(value: unknown): MirrorConfig['serve'] {
  if (value === undefined || value === 'built' || value === 'all') return value ?? defaultAgentConfig.mirror.serve
  throw wrong('agent.mirror.serve', '"built" or "all"')
}
