import { parseToml, type TomlTable, type TomlValue, writeToml } from '../../../kernel/config/toml.ts'

export interface WithBases {
  /** The file for buildkitd. */
  readonly toml: string
  /** Registries that keep their own way, because the daemon would no longer know them by their certificates. */
  readonly left: readonly string[]
}

/**
 * Puts the mirror before the registries of a rendered buildkitd.toml: a `FROM` of their names asks the cluster first, then
 * the user's own mirrors, then the registry.
 *
 * BuildKit talks to the token servers of a registry with the TLS settings of the first host in its list
 * (util/resolver/pool.go, HostsFunc, v0.33.1). Registries whose first host has such settings are therefore left alone.
 * @param hosts as images' names have them: `docker.io`, `registry.example:5000`.
 * @param mirror `HOST:PORT` on loopback, which BuildKit asks by plain HTTP.
 */
export function withBases(toml: string, hosts: readonly string[], mirror: string): WithBases {
  const table = parseToml(toml, 'buildkitd.toml')
  const registry = tableOf(table['registry'])
  const left = hosts.filter((host) => hasTls(tableOf(registry[firstOf(registry, host)])))
  const added = hosts
    .filter((host) => !left.includes(host))
    .map((host) => {
      const own = tableOf(registry[host])
      return [host, { ...own, mirrors: [mirror, ...mirrorsOf(own)] }] as const
    })
  if (added.length === 0) return { toml, left }
  return { toml: writeToml({ ...table, registry: { ...registry, ...Object.fromEntries(added) } }), left }
}

/**
 * The registries whose names FROM looks up in the cluster: those that are configured, and those of images that were built
 * for this node before.
 * @param names normalised, `docker.io/library/app:1`.
 */
export const basesHosts = (configured: readonly string[], names: readonly string[]): readonly string[] => [
  ...new Set([...configured, ...names.map((name) => name.slice(0, name.indexOf('/'))).toSorted()]),
]

/** The host that BuildKit would ask first for images of this registry, without its path. */
const firstOf = (registry: TomlTable, host: string): string =>
  (mirrorsOf(tableOf(registry[host]))[0] ?? host).split('/')[0] ?? host

const hasTls = ({ ca, keypair, tlsconfigdir, insecure }: TomlTable): boolean =>
  insecure === true || [ca, keypair, tlsconfigdir].some((list) => Array.isArray(list) && list.length > 0)

const mirrorsOf = ({ mirrors }: TomlTable): readonly string[] =>
  Array.isArray(mirrors) ? mirrors.filter((mirror): mirror is string => typeof mirror === 'string') : []

const tableOf = (value: TomlValue | undefined): TomlTable =>
  typeof value === 'object' && !Array.isArray(value) && !(value instanceof Date) ? (value as TomlTable) : {}
