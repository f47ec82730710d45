import { fieldOf } from '../../kernel/grpc/wire.ts'
import { InsituError } from '../../kernel/errors.ts'
import type { ContainerdCall } from '../host/containerd-call.ts'

/**
 * Throws away what containerd has of a layer that came wrong: otherwise each later pull would only add the rest to it
 * and fail again. Name of the ingest: containerd's core/remotes/handlers.go, MakeRefKey.
 */
export async function discardIngest(call: ContainerdCall, digest: string): Promise<void> {
  await call('content.v1.Content/Abort', fieldOf(1, `layer-${digest}`)).catch((error: unknown) => {
    if (!(error instanceof InsituError && error.status === 'NOT_FOUND')) throw error
  })
}
