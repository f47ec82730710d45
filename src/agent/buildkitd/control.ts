import { unary } from '../../kernel/grpc/unary.ts'
import { messages, string, stringMap } from '../../kernel/grpc/wire.ts'

/** What buildkitd says about itself. Numbers of fields: BuildKit's api/services/control/control.proto, solver/pb/ops.proto. */
export interface DaemonFacts {
  readonly version: string
  /** As OCI writes them, `linux/arm/v7`, in buildkitd's order: natives first. */
  readonly platforms: readonly string[]
  /** The snapshotter of its worker; undefined when it does not say. */
  readonly snapshotter?: string | undefined
}

/** @throws InsituError GRPC_CALL_FAILED while the daemon does not answer. */
export async function askDaemon(socket: string, timeout = 5000): Promise<DaemonFacts> {
  const workers = messages(await unary({ socket, method: '/moby.buildkit.v1.Control/ListWorkers', timeout }), 1)
  const platforms = workers.flatMap((worker) => messages(worker, 3).map(readPlatform))
  const [version] = workers.flatMap((worker) => messages(worker, 5))
  const [snapshotter] = workers.flatMap((worker) => stringMap(worker, 2)[snapshotterLabel] ?? [])
  return {
    version: version ? string(version, 2).replace(/^v/, '') : '',
    platforms: [...new Set(platforms)],
    snapshotter,
  }
}

/** BuildKit's worker/label/label.go. */
const snapshotterLabel = 'org.mobyproject.buildkit.worker.snapshotter'

function readPlatform(bytes: Uint8Array): string {
  const [architecture, os, variant] = [string(bytes, 1), string(bytes, 2), string(bytes, 3)]
  return [os, architecture, variant].filter((part) => part !== '').join('/')
}
