/** gRPC paths of a BuildKit daemon. Source: BuildKit v0.33.1, api/services/control, frontend/gateway/pb. */
const control = '/moby.buildkit.v1.Control/'
const bridge = '/moby.buildkit.v1.frontend.LLBBridge/'

export const paths = {
  solve: `${control}Solve`,
  session: `${control}Session`,
  status: `${control}Status`,
  listWorkers: `${control}ListWorkers`,
  info: `${control}Info`,
  diskUsage: `${control}DiskUsage`,
  prune: `${control}Prune`,
  listenBuildHistory: `${control}ListenBuildHistory`,
  updateBuildHistory: `${control}UpdateBuildHistory`,
  bridgeSolve: `${bridge}Solve`,
  bridgeReturn: `${bridge}Return`,
  bridgeNewContainer: `${bridge}NewContainer`,
  bridgeExec: `${bridge}ExecProcess`,
  bridgePing: `${bridge}Ping`,
  bridgeResolveImage: `${bridge}ResolveImageConfig`,
  bridgeResolveSource: `${bridge}ResolveSourceMeta`,
  traceExport: '/opentelemetry.proto.collector.trace.v1.TraceService/Export',
  healthCheck: '/grpc.health.v1.Health/Check',
  healthWatch: '/grpc.health.v1.Health/Watch',
} as const

/** Metadata that names the build of an LLBBridge call; its value is the Ref of the Solve. */
export const buildIdHeader = 'buildkit-controlapi-buildid'
/** Metadata that names a session. */
export const sessionIdHeader = 'x-docker-expose-session-uuid'

/** How a call is treated. */
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
  | 'disk-usage'
  | 'prune'
  | 'history'
  | 'update-history'
  | 'content'
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
  [paths.diskUsage]: 'disk-usage',
  [paths.prune]: 'prune',
  [paths.listenBuildHistory]: 'history',
  [paths.updateBuildHistory]: 'update-history',
}

export function callKind(path: string): CallKind {
  const exact = Object.hasOwn(kinds, path) ? kinds[path] : undefined
  if (exact) return exact
  if (path.startsWith(bridge)) return 'bridge'
  if (path.startsWith('/containerd.services.content.v1.Content/')) return 'content'
  return 'unknown'
}
