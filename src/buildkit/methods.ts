/** gRPC paths of a BuildKit daemon. Source: BuildKit v0.33.1, api/services/control, frontend/gateway/pb. */
const control = '/moby.buildkit.v1.Control/'
const bridge = '/moby.buildkit.v1.frontend.LLBBridge/'

export const paths = {
  solve: `${control}Solve`,
  session: `${control}Session`,
  status: `${control}Status`,
  listWorkers: `${control}ListWorkers`,
  info: `${control}Info`,
  bridgeSolve: `${bridge}Solve`,
  bridgeReturn: `${bridge}Return`,
  bridgePing: `${bridge}Ping`,
  traceExport: '/opentelemetry.proto.collector.trace.v1.TraceService/Export',
  healthCheck: '/grpc.health.v1.Health/Check',
  healthWatch: '/grpc.health.v1.Health/Watch',
} as const

/** Metadata that names the build of an LLBBridge call; its value is the Ref of the Solve. */
export const buildIdHeader = 'buildkit-controlapi-buildid'
/** Metadata that names a session. */
export const sessionIdHeader = 'x-docker-expose-session-uuid'

/**
 * How a call is treated. `daemon` calls concern the records and content of one daemon, so they can only be relayed
 * while there is no choice of daemons.
 */
export type CallKind =
  | 'solve'
  | 'session'
  | 'status'
  | 'workers'
  | 'info'
  | 'bridge-solve'
  | 'bridge'
  | 'trace'
  | 'health'
  | 'daemon'
  | 'unknown'

const kinds: Readonly<Record<string, CallKind>> = {
  [paths.solve]: 'solve',
  [paths.session]: 'session',
  [paths.status]: 'status',
  [paths.listWorkers]: 'workers',
  [paths.info]: 'info',
  [paths.bridgeSolve]: 'bridge-solve',
  [paths.traceExport]: 'trace',
  [paths.healthCheck]: 'health',
  [paths.healthWatch]: 'health',
  [`${control}DiskUsage`]: 'daemon',
  [`${control}Prune`]: 'daemon',
  [`${control}ListenBuildHistory`]: 'daemon',
  [`${control}UpdateBuildHistory`]: 'daemon',
}

export function callKind(path: string): CallKind {
  const exact = Object.hasOwn(kinds, path) ? kinds[path] : undefined
  if (exact) return exact
  if (path.startsWith(bridge)) return 'bridge'
  if (path.startsWith('/containerd.services.content.v1.Content/')) return 'daemon'
  return 'unknown'
}
