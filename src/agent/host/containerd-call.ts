import type { GrpcCall } from '../../kernel/grpc/connection.ts'
import { unary } from '../../kernel/grpc/unary.ts'

/** A unary call of containerd's API in one of its namespaces: `leases.v1.Leases/List`, the encoded request, milliseconds. */
export type ContainerdCall = (method: string, request?: Uint8Array, timeout?: number) => Promise<Uint8Array>

/** @param socket path of containerd's socket. The call throws InsituError GRPC_CALL_FAILED with the call's status. */
export const containerdCall =
  (socket: string, namespace: string): ContainerdCall =>
  (method, request, timeout) =>
    unary({
      socket,
      ...callOf(method, namespace),
      ...(request === undefined ? {} : { request }),
      ...(timeout === undefined ? {} : { timeout }),
    })

/** How a call of containerd's API is named: `images.v1.Images/List`, in one of its namespaces. */
export const callOf = (method: string, namespace: string): Pick<GrpcCall, 'method' | 'metadata'> => ({
  method: `/containerd.services.${method}`,
  metadata: { 'containerd-namespace': namespace },
})
