/**
 * What BuildKit v0.33.1 reads from buildkitd.toml (cmd/buildkitd/config/config.go and the types it names). buildkitd
 * ignores keys it does not know, so a misspelt one would be lost in silence: insitu refuses it instead.
 */
export type Kind =
  | 'string'
  | 'bool'
  | 'int'
  | 'strings'
  /** A whole number of seconds or Go's notation: `48h`. */
  | 'duration'
  /** Bytes, `10GB` or a percentage: `20%`. */
  | 'size'
  | { readonly table: Schema }
  /** `[[name]]`. */
  | { readonly tables: Schema }
  /** Keys of the user's own choice, e.g. registry names. */
  | { readonly each: Kind }
  /** Passed on as it is. */
  | 'any'

export type Schema = Readonly<Record<string, Kind>>

const gc: Schema = {
  gc: 'bool',
  gckeepstorage: 'size',
  reservedSpace: 'size',
  maxUsedSpace: 'size',
  minFreeSpace: 'size',
  gcpolicy: {
    tables: {
      all: 'bool',
      filters: 'strings',
      keepDuration: 'duration',
      keepBytes: 'size',
      reservedSpace: 'size',
      maxUsedSpace: 'size',
      minFreeSpace: 'size',
    },
  },
}

const network: Schema = {
  networkMode: 'string',
  cniConfigPath: 'string',
  cniBinaryPath: 'string',
  cniPoolSize: 'int',
  bridgeName: 'string',
  bridgeSubnet: 'string',
}

export const buildkitdKeys: Schema = {
  debug: 'bool',
  trace: 'bool',
  root: 'string',
  'insecure-entitlements': 'strings',
  proxyNetwork: 'bool',
  provenanceEnvDir: 'string',
  log: { table: { format: 'string', level: 'string' } },
  grpc: {
    table: {
      address: 'strings',
      debugAddress: 'string',
      uid: 'int',
      gid: 'int',
      securityDescriptor: 'string',
      tls: { table: { cert: 'string', key: 'string', ca: 'string' } },
    },
  },
  otel: { table: { socketPath: 'string' } },
  cdi: { table: { disabled: 'bool', specDirs: 'strings', autoAllowed: 'strings' } },
  worker: {
    table: {
      oci: {
        table: {
          enabled: 'bool',
          labels: { each: 'string' },
          platforms: 'strings',
          snapshotter: 'string',
          rootless: 'bool',
          noProcessSandbox: 'bool',
          userRemapUnsupported: 'string',
          binary: 'string',
          proxySnapshotterPath: 'string',
          defaultCgroupParent: 'string',
          stargzSnapshotter: 'any',
          'apparmor-profile': 'string',
          selinux: 'bool',
          'max-parallelism': 'int',
          ...gc,
          ...network,
        },
      },
      containerd: {
        table: {
          address: 'string',
          enabled: 'bool',
          labels: { each: 'string' },
          platforms: 'strings',
          namespace: 'string',
          runtime: { table: { name: 'string', path: 'string', options: 'any' } },
          snapshotter: 'string',
          'apparmor-profile': 'string',
          selinux: 'bool',
          'max-parallelism': 'int',
          defaultCgroupParent: 'string',
          rootless: 'bool',
          ...gc,
          ...network,
        },
      },
    },
  },
  registry: {
    each: {
      table: {
        mirrors: 'strings',
        http: 'bool',
        insecure: 'bool',
        ca: 'strings',
        keypair: { tables: { key: 'string', cert: 'string' } },
        tlsconfigdir: 'strings',
      },
    },
  },
  dns: { table: { nameservers: 'strings', options: 'strings', searchDomains: 'strings' } },
  history: { table: { maxAge: 'duration', maxEntries: 'int' } },
  frontend: {
    table: {
      'dockerfile.v0': { table: { enabled: 'bool' } },
      'gateway.v0': { table: { enabled: 'bool', allowedRepositories: 'strings' } },
    },
  },
  system: { table: { platformsCacheMaxAge: 'duration', maxRegistryConcurrency: 'int' } },
  // The policy holds the fields of a certificate summary of another module, which its users copy from there.
  cache: {
    table: {
      gha: {
        table: {
          sign: { table: { command: 'strings' } },
          verify: { table: { required: 'bool', policy: 'any' } },
        },
      },
    },
  },
}

/** Keys that insitu adds: it takes them out before buildkitd sees the file. */
export const localMountKey = 'local-mount-source-root'
export const ownKeys = [[localMountKey], ['worker', 'containerd', localMountKey]] as const
