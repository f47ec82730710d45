/** A `policy.toml` that has been read. Patterns: `*` stands for any text, also an empty one. */
export interface Policy {
  /** For messages: the file's name, or `the default policy`. */
  readonly name: string
  /** In the order of the file: the first that fits a caller decides. A caller whom none fits may do nothing. */
  readonly tenants: readonly Tenant[]
  /** Client connections that build on one node at the same time, over all gateways where its agent counts them; 0 is no limit. */
  readonly buildsPerNode: number
  /** What the file says and surely does not mean, one sentence each. It holds all the same. */
  readonly warnings: readonly string[]
}

/** Callers for whom the same holds, who share a queue. */
export interface Tenant {
  readonly name: string
  readonly match: Match
  readonly rights: Rights
}

/** A caller fits when any of these names it. */
export interface Match {
  /** Of service accounts and of pods. */
  readonly namespaces: readonly string[]
  /** `NAMESPACE/NAME` */
  readonly serviceAccounts: readonly string[]
  /** CN of a person's certificate. */
  readonly users: readonly string[]
  /** O of a person's certificate. */
  readonly groups: readonly string[]
  /** Addresses or ranges of callers without certificate that are no pods. */
  readonly addresses: readonly string[]
  /** `kubectl port-forward` without a certificate, and processes of the gateway's own machine. */
  readonly loopback: boolean
  /** Everybody. */
  readonly anybody: boolean
}

export interface Rights {
  /**
   * Images it may name: `registry/team/` for everything below, `registry/team/app` for every tag of a repository,
   * `registry/team/app:v1` for one name, `*` for all. `{namespace}` and `{serviceAccount}` stand for the caller's.
   */
  readonly names: readonly string[]
  readonly exporters: readonly string[]
  readonly entitlements: readonly string[]
  /** `llb`, `dockerfile.v0`, `gateway.v0` for every image, `gateway.v0:REPOSITORY` for one, `*` for all. */
  readonly frontends: readonly string[]
  readonly platforms: readonly string[]
  readonly nodes: readonly string[]
  readonly cacheTo: readonly string[]
  readonly cacheFrom: readonly string[]
  /** Client connections of the whole tenant that build at the same time, for each gateway; 0 is no limit. */
  readonly builds: number
  /** Its share of the turns where builds queue. */
  readonly weight: number
  /** Solves that one identity may start in a minute, for each gateway; 0 is no limit. */
  readonly solvesPerMinute: number
  readonly administrator: boolean
}

export const nobody: Match = {
  namespaces: [],
  serviceAccounts: [],
  users: [],
  groups: [],
  addresses: [],
  loopback: false,
  anybody: false,
}

/** What a tenant of a file has that does not say otherwise: it may build, and give names to nothing. */
export const modest: Rights = {
  names: [],
  exporters: ['*'],
  entitlements: [],
  frontends: ['dockerfile.v0', 'llb'],
  platforms: ['*'],
  nodes: ['*'],
  cacheTo: ['*'],
  cacheFrom: ['*'],
  builds: 0,
  weight: 1,
  solvesPerMinute: 600,
  administrator: false,
}

/** People whose certificate has this organisation administrate where there is no policy file. */
export const administrators = 'insitu:administrators'

/**
 * In a cluster without a policy file: everybody who is let in may build under every name that is not protected, with
 * every frontend, without entitlements. Who may forward a port to the gateway administrates.
 */
export const defaultPolicy: Policy = {
  name: 'the default policy',
  // BuildKit shares a node between builds well, and nobody but the cluster's owner knows when it should not.
  buildsPerNode: 0,
  warnings: [],
  tenants: [
    {
      name: 'administrators',
      match: { ...nobody, loopback: true, groups: [administrators] },
      rights: { ...modest, names: ['*'], frontends: ['*'], administrator: true },
    },
    {
      name: 'everybody',
      match: { ...nobody, anybody: true },
      rights: { ...modest, names: ['*'], frontends: ['*'] },
    },
  ],
}
