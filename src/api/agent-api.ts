/**
 * The agent's port 2376, mTLS, only for clients whose certificate names a gateway. ALPN decides: `h2` (or none) is
 * piped byte for byte to buildkitd's unix socket; `http/1.1` is the agent's own small API below.
 */
export const agentPaths = {
  /**
   * GET: `{ [variable]: value }`, the proxy variables of the agent's environment, credentials included, and in
   * `LOCAL_REGISTRIES` hosts of registries that no proxy is asked for, with commas between them. For gateways.
   */
  proxy: '/v1/proxy',
  /** GET: how the daemon ended that has ended a moment ago, a DaemonEnd, or `{}`; waits for that up to a second. For gateways. */
  daemonEnd: '/v1/daemon-end',
  /** POST a list of texts: what of the cluster no proxy is asked for, for buildkitd's next start and for doctors. */
  noProxy: '/v1/no-proxy',
  /** GET: an ImageInventory. For gateways. */
  images: '/v1/images',
  /** POST a BuiltRequest. For gateways. */
  built: '/v1/built',
  /** POST a PullRequest; JSON lines of PullProgress. For gateways. */
  pull: '/v1/pull',
  /** POST a DropRequest. For gateways. */
  drop: '/v1/drop',
  /** POST a RetractRequest; the answer comes when builds that may write the names have ended. For gateways. */
  retract: '/v1/retract',
  /** GET: a NodeUsage. On the agent's unix socket only, see agentSocket. */
  usage: '/v1/usage',
  /** GET: NodeOrigins. On the agent's unix socket only. */
  origins: '/v1/origins',
  /** POST a PruneRequest; JSON lines of PruneProgress. On the agent's unix socket only. */
  prune: '/v1/prune',
  /**
   * POST `?limit=N`; JSON lines of TurnLine. A turn to build on this node, while fewer than N have one; it lasts as long as
   * the request, whose body is a byte now and then. For gateways.
   */
  turn: '/v1/turn',
  /** POST a WantedRequest: what templates of workloads that may run here name, as of now. For gateways. */
  wanted: '/v1/wanted',
  /** GET `?name=…&name=…`: a ProtectedAnswer; to be asked before a build writes these names. For gateways. */
  protected: '/v1/protected',
  /** GET, HEAD: OCI distribution, read-only, as the mirror serves it (`?ns=` names the registry). For other agents. */
  registry: '/v2/',
} as const

/** One line of the answer to `agentPaths.turn`: the place of one who waits, then its turn. */
export type TurnLine = { readonly place: number } | { readonly turn: true }

/** Requests over the gateways' TLS port for clients, for agents. */
export const gatewayPaths = {
  /**
   * GET `?name=` or `?repository=&digest=`, and `&wait=` milliseconds: a Lookup. Ask every gateway and join the answers.
   * With a digest and `&ordinary=1` images that insitu did not build are looked for, too.
   * With a name and `&finished=1` builds that are under way do not count.
   * `&demand=1`, to one gateway: the name is pulled, so a Build that waits for that is to be built.
   */
  lookup: '/v1/lookup',
} as const

/** Name of the unix socket in the agent's run directory that serves `usage`, `origins` and `prune` to root on the node. */
export const agentSocket = 'insitu.sock'
